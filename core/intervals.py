"""Confidence intervals of mean differences: over windows of a text, over seeds, and over both.

Windows of a text are not independent draws: neighbours are correlated. They are averaged in blocks of consecutive
windows, and Student's t is applied to the block means (batch means; Law and Kelton 2000, section 9.5.3). A percentile
bootstrap of the same blocks is too narrow with few blocks: at 95% it covers 91% with 12 blocks and 51% with two.

Seeds are draws as well. If both vary, the mean of differences d[s, w] has the variance of the seeds' means over S plus
that of the windows' means over B. Each is multiplied by the t quantile of its own degrees of freedom, so the interval
has at least its nominal coverage even with two or three seeds (modified large-sample interval; Graybill and Wang 1980).
Variation common to seeds and windows is counted twice, which makes the interval wider.

Plain Python, so that comparing runs does not import NumPy. Shapes: S seeds, W windows, B blocks of windows.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

BLOCK_WINDOWS = 32
"""Largest number of windows in a block."""
SMALLEST_BLOCK = 4
"""Smallest number of windows in a block: single windows are too correlated."""
WANTED_BLOCKS, FEWEST_BLOCKS = 8, 6
"""Number of blocks for which they are made smaller, and number below which there is no interval."""
LEVEL = 0.95

Kind = Literal["windows", "seeds", "seeds and windows", "rounds"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        kind: what varies; the interval does not cover other variation.
    """

    low: float
    mean: float
    high: float
    kind: Kind

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def over_windows(differences: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over windows of one text, in order; None if there are too few windows."""
    error = _window_error(differences, level)
    return None if error is None else _around(statistics.fmean(differences), error, "windows")


def over_seeds(differences: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over seeds, of one number for each; None for a single seed."""
    if len(differences) < 2:
        return None
    return _around(statistics.fmean(differences), _seed_error(differences, level), "seeds")


def over_seeds_and_windows(differences: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over seeds and windows; None if there are too few of either.

    Args:
        differences: differences of every seed on the same windows, `[S, W]`.

    Raises:
        ValueError: the seeds have different numbers of windows.
    """
    windows = [statistics.fmean(window) for window in zip(*differences, strict=True)]
    window_error = _window_error(windows, level)
    if window_error is None or len(differences) < 2:
        return None
    seed_error = _seed_error([statistics.fmean(seed) for seed in differences], level)
    return _around(statistics.fmean(windows), math.hypot(seed_error, window_error), "seeds and windows")


def paired(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], level: float = LEVEL
) -> Interval | None:
    """Return the interval of `first − second` of the same seeds: over windows if there is one, else over both.

    Args:
        first, second: loss of each window of each seed, `[S, W]`, in the same order.

    Returns:
        The interval; None if there are too few windows.

    Raises:
        ValueError: the seeds or the windows are not the same.
    """
    return over_all([[a - b for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)], level)


def over_all(differences: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean of differences `[S, W]`: over windows if there is one seed, else over both."""
    return over_windows(differences[0], level) if len(differences) == 1 else over_seeds_and_windows(differences, level)


def unpaired(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], level: float = LEVEL
) -> Interval | None:
    """Return the interval of `first − second` of different seeds: the spreads over seeds add up.

    Args:
        first, second: loss of each window of each seed, `[S, W]` and `[S', W]`.

    Returns:
        The interval; None if there are too few windows, or a side has one seed only.

    Raises:
        ValueError: the numbers of windows differ.
    """
    if min(len(first), len(second)) < 2:
        return None
    sides = [[statistics.fmean(window) for window in zip(*side, strict=True)] for side in (first, second)]
    windows = [a - b for a, b in zip(*sides, strict=True)]
    window_error = _window_error(windows, level)
    if window_error is None:
        return None
    errors = [_seed_error([statistics.fmean(seed) for seed in side], level) for side in (first, second)]
    return _around(statistics.fmean(windows), math.hypot(*errors, window_error), "seeds and windows")


def unpaired_seeds(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of `first − second` over different seeds, of one number for each: the spreads add up.

    Returns:
        The interval; None if a side has one seed only.
    """
    if min(len(first), len(second)) < 2:
        return None
    error = math.hypot(*(_seed_error(side, level) for side in (first, second)))
    return _around(statistics.fmean(first) - statistics.fmean(second), error, "seeds")


def of_two(first: Interval, second: Interval) -> Interval:
    """Return the interval of `first − second` of two figures that were measured apart."""
    errors = [(side.high - side.low) / 2 for side in (first, second)]
    return _around(first.mean - second.mean, math.hypot(*errors), first.kind)


def of_median(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the median of independent rounds, whatever their distribution; None if they are too few.

    Its ends are order statistics: the k-th lowest and highest value, with the largest k for which the chance that fewer
    than k rounds lie on one side of the median is at most `1 − level` (Conover 1999, section 3.2). The mean of timed
    rounds is no good: one round that another process interrupts moves it.
    """
    ordered, chance, k = sorted(values), 0.5 ** len(values), 0
    while 2 * chance <= 1 - level:
        k += 1
        chance += math.comb(len(values), k) * 0.5 ** len(values)
    return Interval(ordered[k - 1], statistics.median(ordered), ordered[-k], "rounds") if k else None


def window_blocks(values: Sequence[float]) -> list[float]:
    """Average blocks of consecutive windows, of nearly equal sizes: `[W]` to `[B]`; empty with too few windows."""
    return [statistics.fmean(values[start:end]) for start, end in itertools.pairwise(block_edges(len(values)))]


def block_edges(windows: int) -> list[int]:
    """Return where the blocks of so many windows begin, and where the last one ends; empty with too few windows."""
    size = min(BLOCK_WINDOWS, max(SMALLEST_BLOCK, windows // WANTED_BLOCKS))
    blocks = windows // size
    return [block * windows // blocks for block in range(blocks + 1)] if blocks >= FEWEST_BLOCKS else []


@cache
def student_t(degrees: int, level: float = LEVEL) -> float:
    """Return the two-sided quantile q of Student's t with integer degrees of freedom: P(|t| <= q) = level.

    It inverts the closed form of the distribution by bisection (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).

    Raises:
        ValueError: the degrees of freedom are below 1.
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be >= 1, got {degrees}")
    low, high = 0.0, 1e5
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided(middle, degrees) < level else (low, middle)
    return high


def _two_sided(t: float, degrees: int) -> float:
    """Return P(|T| <= t) of Student's t."""
    angle = math.atan(t / math.sqrt(degrees))
    squared, odd = math.cos(angle) ** 2, degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= squared * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _window_error(values: Sequence[float], level: float) -> float | None:
    blocks = window_blocks(values)
    return _seed_error(blocks, level) if blocks else None


def _seed_error(values: Sequence[float], level: float) -> float:
    """Return half the width of the interval of the mean of independent draws."""
    return student_t(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))


def _around(mean: float, error: float, kind: Kind) -> Interval:
    return Interval(mean - error, mean, mean + error, kind)
