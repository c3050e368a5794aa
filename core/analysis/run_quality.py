"""What the store keeps of a run, judged: the plain functions behind `eetui quality`."""

from dataclasses import dataclass

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
from core.analysis.stored_run import exit_savings, exiting_tokens, stored_run
from core.analysis.token_table import TokenTable
from core.store.reader import Reader

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


def judge_exit(table: TokenTable, block: int, method: str) -> Judgement:
    """Judge the exit of a block."""
    claim = CLAIMS.get(method, "correct")
    truth = claimed_truth(table, block, claim)
    diagram = reliability(table.signal[block], truth, GROUPS, equal_mass=True)
    return Judgement(exit_quality(table, block, claim), diagram, overthinking(table))


@dataclass(frozen=True, eq=False)
class RunQuality:
    """A run's exits, judged."""

    number: int
    name: str
    method: str
    tokens: int
    quality: Quality


def run_quality(reader: Reader, number: int) -> RunQuality:
    """Judge the exits of a run.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run keeps no statistics of its tokens, or has no exit.
    """
    run = stored_run(reader, number)
    table = exiting_tokens(reader, run)
    judged = quality(table, exit_savings(run), CLAIMS.get(run.config.method, "correct"), run.thresholds)
    return RunQuality(number, run.name, run.config.method, table.tokens, judged)
