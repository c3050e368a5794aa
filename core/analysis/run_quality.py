"""What the store keeps of a run, judged: the plain functions behind `eetui quality`."""

from dataclasses import dataclass

import numpy as np

from core.analysis.exit_quality import (
    ExitQuality,
    Meaning,
    Overthinking,
    Quality,
    ToGain,
    exit_quality,
    overthinking,
    quality,
)
from core.analysis.stored_run import StoredRun, exit_savings, exiting_tokens, paid_costs, stored_run
from core.analysis.token_table import Floats, TokenTable
from core.exits import exit_method
from core.exits._facts import MethodFacts
from core.extensions.kinds import EXIT_METHODS
from core.store.reader import Reader

LARGEST_FIRST_GAIN = 8.0
"""Nats; largest gain that the built-in gain exit claimed before it looked at all later blocks."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """One exit, judged.

    Attributes:
        overthinking: of the whole run.
    """

    exit: ExitQuality
    overthinking: Overthinking


def judge_exit(table: TokenTable, block: int, meaning: Meaning) -> Judgement:
    """Judge the exit of a block."""
    return Judgement(exit_quality(table, block, meaning), overthinking(table))


def signal_meaning(run: StoredRun) -> Meaning:
    """Return what a run's signals claim to be.

    Raises:
        ConfigError: they claim a gain, and the user's own method that knows which is gone or has changed.
    """
    costs = paid_costs(run, run.config.exit.cost) if run.method.claims == "price" else None
    return Meaning(run.method.claims, gain_of(run.method), costs)


def gain_of(method: MethodFacts) -> ToGain | None:
    """Map from a method's signals to the nats they claim; None where they claim no gain.

    Raises:
        ConfigError: a user's own method is gone or has changed.
    """
    if method.claims != "gain":
        return None
    if method.reference in EXIT_METHODS.built_in:
        return _first_gain
    import torch  # 1 to 2 s

    claimed_gain = exit_method(method.reference).claimed_gain

    def to_gain(signal: Floats) -> Floats:
        gain: Floats = claimed_gain(torch.from_numpy(signal).double()).numpy()
        return gain

    return to_gain


def _first_gain(signal: Floats) -> Floats:
    """Return the gain of the next block that the built-in gain exit claimed before it looked at all later blocks."""
    logit = np.log(signal.astype(np.float64)) - np.log1p(-signal.astype(np.float64))
    gain: Floats = -np.clip(logit, -LARGEST_FIRST_GAIN, LARGEST_FIRST_GAIN)
    return gain


@dataclass(frozen=True, eq=False)
class RunQuality:
    """A run's exits, judged.

    Attributes:
        bytes_per_token: as in `core.state.RunState.eval_bytes_per_token`.
        deferred: whether tokens that left run on for later ones (`exit.exited_state`), so that fewer layers are saved.
    """

    number: int
    name: str
    method: str
    tokens: int
    quality: Quality
    bytes_per_token: float | None = None
    deferred: bool = False


def run_quality(reader: Reader, number: int) -> RunQuality:
    """Judge the exits of a run.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run keeps no statistics of its tokens, or has no exit.
        ConfigError: its signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    run = stored_run(reader, number)
    table = exiting_tokens(reader, run)
    paid = paid_costs(run, "layers"), paid_costs(run, "flops")
    judged = quality(table, exit_savings(run), paid, signal_meaning(run), run.thresholds)
    method, deferred = run.config.method_name, run.config.exit.exited_state == "deferred"
    return RunQuality(number, run.name, method, table.tokens, judged, run.state.eval_bytes_per_token, deferred)
