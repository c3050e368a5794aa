"""Time savings: measured seconds of early exit against all blocks without exit, on the same tokens.

Both use the fastest implementation and take turns, so that other load on the machine affects both.
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
from core.intervals import of_median
from core.model import Transformer

ROUNDS = 5
"""Number of rounds of a benchmark."""
FEWEST_ROUNDS, MOST_ROUNDS = 6, 60
"""Number of rounds of a run: until the interval is narrow, but no fewer and no more."""
NARROW = 0.04
"""Width of the interval, as a share of the time, that is narrow enough."""
SECONDS = 10.0
"""Duration after which no further round begins."""


@dataclass(frozen=True)
class TimeSavings:
    """Distribution over rounds of seconds of early exit ÷ seconds of all blocks without exit.

    Attributes:
        ratio: median.
        low, high: quartiles.
        rounds: number of rounds.
    """

    ratio: float
    low: float
    high: float
    rounds: int

    @staticmethod
    def of(ratios: Sequence[float]) -> "TimeSavings":
        """Return median and quartiles of at least two ratios."""
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return TimeSavings(statistics.median(ratios), low, high, len(ratios))

    @property
    def savings(self) -> float:
        """Share of the time saved; negative where early exit takes longer."""
        return 1 - self.ratio

    @property
    def speed_up(self) -> float:
        """Speed of early exit as a multiple of that of all blocks."""
        return 1 / self.ratio


def time_savings(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, rounds: int = ROUNDS
) -> TimeSavings:
    """Time early exit, signals included, against the model without exits; see `timed_rounds`."""
    return TimeSavings.of(list(timed_rounds(model, thresholds, windows, config, rounds)))


def enough(ratios: Sequence[float], seconds: float) -> bool:
    """Tell whether a run needs no further round after these, which took that long."""
    if len(ratios) < FEWEST_ROUNDS:
        return False
    found = of_median(ratios)
    return seconds >= SECONDS or (found is not None and found.high - found.low <= NARROW)


def timed_rounds(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, rounds: int = ROUNDS
) -> Iterator[float]:
    """Yield seconds of early exit ÷ seconds of all blocks without exit, round by round, after a warm-up round.

    All blocks without exit are timed with the masked or the skipping implementation, whichever is faster here. With
    exited state `input` no layer is skipped, so no time is saved. Methods that `foresee` can't be timed: they get no
    statistics of later blocks here.
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
    """Return the implementation that runs all blocks in the least time; each is timed twice, in turn."""
    trials = [[seconds(model, (), windows, config, states) for states in passes] for _ in range(2)]
    return min(zip(map(min, *trials), passes, strict=True), key=lambda timed: timed[0])[1]


def seconds(
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, states: EarlyExitStates
) -> float:
    """Time one pass over the windows, in seconds.

    Its results are copied to the CPU, so any other device has finished by then.
    """
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
    """Time both once, with the order alternating by turn; return seconds of early exit ÷ seconds of all blocks."""
    sides = {
        "early": lambda: seconds(model, thresholds, windows, config, skipping_states),
        "full": lambda: seconds(model, (), windows, config, full_pass),
    }
    order = ("early", "full") if turn % 2 else ("full", "early")
    took = {side: sides[side]() for side in order}
    return took["early"] / took["full"]
