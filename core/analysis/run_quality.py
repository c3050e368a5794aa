"""What the store keeps of a run, judged: the plain functions behind `eetui quality`."""

from dataclasses import dataclass

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
from core.analysis.stored_run import exit_savings, exiting_tokens, stored_run
from core.analysis.token_table import Floats, TokenTable
from core.exits import exit_method
from core.exits._facts import MethodFacts
from core.store.reader import Reader


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


def judge_exit(table: TokenTable, block: int, method: MethodFacts) -> Judgement:
    """Judge the exit of a block.

    Raises:
        ConfigError: the signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    to_gain = gain_of(method)
    diagram = signal_reliability(table, block, method.claims, to_gain, GROUPS, equal_mass=True)
    return Judgement(exit_quality(table, block, method.claims, to_gain), diagram, overthinking(table))


def gain_of(method: MethodFacts) -> ToGain | None:
    """Map from a method's signals to the nats they claim; None where they claim no gain.

    Raises:
        ConfigError: a user's own method is gone or has changed.
    """
    if method.claims != "gain":
        return None
    import torch  # 1 to 2 s

    claimed_gain = exit_method(method.reference).claimed_gain

    def to_gain(signal: Floats) -> Floats:
        gain: Floats = claimed_gain(torch.from_numpy(signal).double()).numpy()
        return gain

    return to_gain


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
        ConfigError: its signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    run = stored_run(reader, number)
    table = exiting_tokens(reader, run)
    judged = quality(table, exit_savings(run), run.method.claims, run.thresholds, gain_of(run.method))
    return RunQuality(number, run.name, run.config.method_name, table.tokens, judged)
