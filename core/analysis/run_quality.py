"""What the store keeps of a run, judged: the plain functions behind `eetui quality`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.analysis.exit_quality import (
    Claim,
    ExitQuality,
    Overthinking,
    Quality,
    claimed_truth,
    exit_quality,
    overthinking,
    quality,
)
from core.analysis.reliability import Reliability, reliability
from core.analysis.token_table import Recorded, recorded
from core.analysis.tradeoff import DepthSavings, depth_savings
from core.config.run_config import ModelConfig
from core.errors import UsageError
from core.state import RunState
from core.store.reader import Reader
from core.store.tokens import EvaluationText

CLAIMS: dict[str, Claim] = {"distill": "max_prob", "loss": "p(target)", "agree": "agrees"}
"""What a method's signal is read as: its exit label, where it is a probability; else, that the block is right."""

GROUPS = 10
"""Of equally many tokens, in the diagram of an exit."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """One exit, judged.

    Attributes:
        diagram: the signal against what it claims, over groups of equally many tokens.
        overthinking: of the whole run.
    """

    exit: ExitQuality
    diagram: Reliability
    overthinking: Overthinking


def judge(tokens: Recorded, block: int, method: str) -> Judgement:
    """Judge the exit of a block."""
    claim = CLAIMS.get(method, "correct")
    truth = claimed_truth(tokens, block, claim)
    diagram = reliability(tokens.signal[block], truth, GROUPS, equal_mass=True)
    return Judgement(exit_quality(tokens, block, claim), diagram, overthinking(tokens))


@dataclass(frozen=True, eq=False)
class RunTokens:
    """A run's evaluated tokens, and what is needed to judge its exits.

    Attributes:
        thresholds: those it set itself; None if one is missing.
        measured_excess: what its own early exit lost over all blocks as it was measured, nats; None if it was not.
    """

    number: int
    name: str
    method: str
    tokens: Recorded
    savings: DepthSavings
    thresholds: tuple[float, ...] | None
    measured_excess: float | None


@dataclass(frozen=True, eq=False)
class RunQuality:
    """A run's exits, judged."""

    number: int
    name: str
    method: str
    tokens: int
    quality: Quality


def run_quality(reader: Reader, run: int) -> RunQuality:
    """Judge the exits of a run.

    Raises:
        UsageError: the run keeps no statistics of its tokens, or has no exit.
    """
    found = run_tokens(reader, run)
    judged = quality(found.tokens, found.savings, CLAIMS.get(found.method, "correct"), found.thresholds)
    return RunQuality(found.number, found.name, found.method, found.tokens.tokens, judged)


def run_tokens(reader: Reader, run: int) -> RunTokens:
    """Read a run's evaluated tokens.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run keeps no statistics of its tokens, or has no exit.
    """
    from core.exits import exit_method  # imports torch, 1 to 2 s

    row, state = reader.run(run), reader.state(run)
    tokens = stored_tokens(reader, row)
    model = ModelConfig.model_validate(row["config"]["model"])
    reads_head = exit_method(row["method"]).reads_head
    exited_state = row["config"]["exit"].get("exited_state", "input")
    return RunTokens(
        number=run,
        name=row["name"],
        method=row["method"],
        tokens=tokens,
        savings=depth_savings(
            model, row["record"]["vocab_size"], tokens.seq_len, reads_head=reads_head, exited_state=exited_state
        ),
        thresholds=own_thresholds(state, tokens.exits),
        measured_excess=_measured_excess(state),
    )


def stored_tokens(reader: Reader, row: Mapping[str, Any]) -> Recorded:
    """What the blocks of a run said of its evaluation tokens.

    Raises:
        UsageError: the run keeps no statistics of its tokens, or has no exit.
    """
    tokens, _ = evaluated_tokens(reader, row)
    if not tokens.exits:
        raise UsageError(f"{row['name']} has one block only, so no token can leave early: give it more block_layers")
    if not tokens.signal.size:
        raise UsageError(f"{row['name']} was trained without exits, so there is nothing to judge")
    return tokens


def evaluated_tokens(reader: Reader, row: Mapping[str, Any]) -> tuple[Recorded, EvaluationText]:
    """What the blocks of a run said of its evaluation tokens, with or without exits, and the text that they are of.

    Raises:
        UsageError: the run keeps no statistics of its tokens.
    """
    blocks = reader.token_statistics(row["id"])
    text = reader.text(row["record"]["fingerprint"]) if blocks else None
    if text is None:
        raise UsageError(
            f"{row['name']} keeps no statistics of its tokens ({row['status']}): they are written when a run is "
            f"evaluated; train it again (eetui run)"
        )
    return recorded(blocks, text.targets, text.seq_len), text


def own_thresholds(state: RunState, exits: int) -> tuple[float, ...] | None:
    """The thresholds that a run set, or None if one is missing."""
    stages = [state.stage("hard tokens", block) for block in range(exits)]
    found = tuple(stage.threshold.threshold for stage in stages if stage and stage.threshold)
    return found if len(found) == exits else None


def _measured_excess(state: RunState) -> float | None:
    early, full = state.measure("early exit"), state.measure("all blocks")
    return early.loss - full.loss if early and full else None


def block_layers(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Layers of each block, of a config as the store holds it."""
    return tuple(config["model"]["block_layers"])
