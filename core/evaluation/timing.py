"""Time savings: early exit by the clock against all blocks without exit, on the same tokens.

Both go the fastest way there is, and take turns, so that whatever else the machine does falls on both.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.config.run_config import RunConfig
from core.data.batches import in_order
from core.data.windows import Windows
from core.early_exit.masked import EarlyExitStates, early_exit_states
from core.early_exit.skipping import skipping_states
from core.evaluation.passes import Pass, early_exit
from core.model import Transformer

ROUNDS = 5


@dataclass(frozen=True)
class TimeSavings:
    """Seconds of early exit ÷ seconds of all blocks without exit, round by round.

    Attributes:
        ratio: their median.
        low, high: their quartiles.
        rounds: how many there were.
    """

    ratio: float
    low: float
    high: float
    rounds: int

    @staticmethod
    def of(ratios: Sequence[float]) -> "TimeSavings":
        """Their median and quartiles; at least two."""
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return TimeSavings(statistics.median(ratios), low, high, len(ratios))

    @property
    def savings(self) -> float:
        """Share of the time saved; negative where early exit takes longer."""
        return 1 - self.ratio

    @property
    def speed_up(self) -> float:
        """How many times as fast."""
        return 1 / self.ratio


def time_savings(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, rounds: int = ROUNDS
) -> TimeSavings:
    """Measure early exit as it is, signals and all, against the model without exits; see `timed_rounds`."""
    return TimeSavings.of(list(timed_rounds(model, thresholds, windows, config, rounds)))


def timed_rounds(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, rounds: int = ROUNDS
) -> Iterator[float]:
    """Seconds of early exit ÷ seconds of all blocks without exit, round by round, after one that does not count.

    The latter goes through the blocks as they were trained, or through the skipping pass that nobody leaves, whichever
    is faster here. With exited state `input` nothing is skipped, and nothing saved. Methods that foresee are told
    nothing of later blocks, so they can't be timed.
    """
    full_pass = fastest_full_pass(model, windows, config)
    for turn in range(rounds + 1):
        ratio = _round(model, thresholds, windows, config, full_pass, turn)
        if turn:
            yield ratio


def fastest_full_pass(
    model: Transformer,
    windows: Windows,
    config: RunConfig,
    passes: Sequence[EarlyExitStates] = (skipping_states, early_exit_states),
) -> EarlyExitStates:
    """Which implementation takes the tokens through all blocks in the least time; each is tried twice, in turn."""
    trials = [[seconds(model, (), windows, config, states) for states in passes] for _ in range(2)]
    return min(zip(map(min, *trials), passes, strict=True), key=lambda timed: timed[0])[1]


def seconds(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, states: EarlyExitStates
) -> float:
    """What one pass over the windows takes; its result comes to the CPU, so other devices have finished too."""
    result, began = Pass.empty(windows.targets), time.perf_counter()
    for batch in in_order(len(windows.inputs), config):
        early_exit(model, thresholds, windows, batch, result, config, states=states)
    return time.perf_counter() - began


def _round(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    full_pass: EarlyExitStates,
    turn: int,
) -> float:
    """Both once, each first in every other turn: early ÷ full."""
    sides = {
        "early": lambda: seconds(model, thresholds, windows, config, skipping_states),
        "full": lambda: seconds(model, (), windows, config, full_pass),
    }
    order = ("early", "full") if turn % 2 else ("full", "early")
    took = {side: sides[side]() for side in order}
    return took["early"] / took["full"]
