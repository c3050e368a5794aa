"""What the store keeps of a run, judged: the plain functions behind `eetui quality`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.analysis.exit_quality import (
    GROUPS,
    ExitQuality,
    Overthinking,
    Quality,
    ToGain,
    exit_quality,
    overthinking,
    quality,
    signal_reliability,
)
from core.analysis.reliability import Reliability
from core.analysis.token_table import Floats, Recorded, recorded
from core.analysis.tradeoff import DepthSavings, depth_savings
from core.config.run_config import ModelConfig
from core.errors import UsageError
from core.exits._facts import MethodFacts, run_facts
from core.state import RunState
from core.store.reader import Reader
from core.store.tokens import EvaluationText


@dataclass(frozen=True, eq=False)
class Judgement:
    """One exit, judged.

    Attributes:
        diagram: what the signal claims against what is found, over groups of equally many tokens; None where it claims
            an order only.
        overthinking: of the whole run.
    """

    exit: ExitQuality
    diagram: Reliability | None
    overthinking: Overthinking


def judge(tokens: Recorded, block: int, method: MethodFacts) -> Judgement:
    """Judge the exit of a block.

    Raises:
        ConfigError: the signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    to_gain = gain_of(method)
    diagram = signal_reliability(tokens, block, method.claims, to_gain, GROUPS, equal_mass=True)
    return Judgement(exit_quality(tokens, block, method.claims, to_gain), diagram, overthinking(tokens))


def gain_of(method: MethodFacts) -> ToGain | None:
    """Map from a method's signals to the nats they claim; None where they claim no gain.

    Raises:
        ConfigError: a user's own method is gone or has changed.
    """
    if method.claims != "gain":
        return None
    import torch  # 1 to 2 s

    from core.exits._load import exit_method

    claimed_gain = exit_method(method.reference).claimed_gain

    def to_gain(signal: Floats) -> Floats:
        gain: Floats = claimed_gain(torch.from_numpy(signal).double()).numpy()
        return gain

    return to_gain


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
    facts: MethodFacts
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
        ConfigError: its signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    found = run_tokens(reader, run)
    judged = quality(found.tokens, found.savings, found.facts.claims, found.thresholds, gain_of(found.facts))
    return RunQuality(found.number, found.name, found.method, found.tokens.tokens, judged)


def run_tokens(reader: Reader, run: int) -> RunTokens:
    """Read a run's evaluated tokens.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run keeps no statistics of its tokens, or has no exit.
    """
    row, state = reader.run(run), reader.state(run)
    tokens = stored_tokens(reader, row)
    model = ModelConfig.model_validate(row["config"]["model"])
    facts = run_facts(row)
    exited_state = row["config"]["exit"].get("exited_state", "input")
    return RunTokens(
        number=run,
        name=row["name"],
        method=row["method"],
        facts=facts,
        tokens=tokens,
        savings=depth_savings(
            model, row["record"]["vocab_size"], tokens.seq_len, reads_head=facts.reads_head, exited_state=exited_state
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
