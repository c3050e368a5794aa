"""Confidence intervals of mean differences: over windows of a text, over seeds, and over both.

Windows of a text are not independent draws: neighbours are alike. They are averaged in blocks of consecutive windows,
and Student's t takes the spread of the block means (batch means; Law and Kelton 2000, section 9.5.3). A percentile
bootstrap of the same blocks is narrower than it says where blocks are few: of 95% it covers 91% with 12 blocks and
51% with two.

Seeds are draws as well. With both varying, a difference d[s, w] has the variance of its seeds' means over S plus that
of its windows' over B; each gets the t quantile of its own degrees of freedom, so the interval covers at least what
it says also with two or three seeds (modified large-sample interval; Graybill and Wang 1980). What seeds and windows
vary by together is counted twice, which errs on the wide side.

Plain Python: comparing runs must not wait for NumPy. Shapes: S seeds, W windows, B blocks of windows.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

BLOCK_WINDOWS = 32
"""Most windows that are averaged to a block."""
SMALLEST_BLOCK = 4
"""Fewest windows of a block: single ones hang together too much."""
WANTED_BLOCKS, FEWEST_BLOCKS = 8, 6
"""Blocks are made smaller until so many are there; with fewer than the latter there is no interval."""
LEVEL = 0.95

Kind = Literal["windows", "seeds", "seeds and windows"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        kind: what varies: the interval says nothing of what does not.
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
    """Interval of the mean over windows of one text, in their order; None where there are too few windows."""
    error = _window_error(differences, level)
    return None if error is None else _around(statistics.fmean(differences), error, "windows")


def over_seeds(differences: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Interval of the mean over seeds, of one number for each; None for a single seed."""
    if len(differences) < 2:
        return None
    return _around(statistics.fmean(differences), _seed_error(differences, level), "seeds")


def over_seeds_and_windows(differences: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Interval of the mean over seeds and windows, both of them draws; None where either has too few.

    Args:
        differences: `[S, W]`, every seed's on the same windows.

    Raises:
        ValueError: the seeds are not of the same windows.
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
    """Interval of `first − second` of the same seeds: over seeds and windows, or over windows where there is one seed.

    Args:
        first, second: loss of each window of each seed, `[S, W]`, in the same order.

    Returns:
        None where there are too few windows.

    Raises:
        ValueError: the seeds or the windows are not the same.
    """
    differences = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)]
    return over_windows(differences[0], level) if len(differences) == 1 else over_seeds_and_windows(differences, level)


def unpaired(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], level: float = LEVEL
) -> Interval | None:
    """Interval of `first − second` of different seeds on the same windows: the spreads over seeds add up.

    Args:
        first, second: loss of each window of each seed, `[S, W]` and `[S', W]`.

    Returns:
        None where there are too few windows, or a side has one seed only.

    Raises:
        ValueError: the windows are not the same.
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


def window_blocks(values: Sequence[float]) -> list[float]:
    """Means of consecutive windows, `[B]`, of as good as equal numbers; empty where there are too few windows."""
    size = min(BLOCK_WINDOWS, max(SMALLEST_BLOCK, len(values) // WANTED_BLOCKS))
    blocks = len(values) // size
    if blocks < FEWEST_BLOCKS:
        return []
    edges = [block * len(values) // blocks for block in range(blocks + 1)]
    return [statistics.fmean(values[start:end]) for start, end in itertools.pairwise(edges)]


@cache
def student_t(degrees: int, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t with whole degrees of freedom: P(|t| <= q) = level.

    Inverts the closed form of the distribution by bisection (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be >= 1, got {degrees}")
    low, high = 0.0, 1e5
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided(middle, degrees) < level else (low, middle)
    return high


def _two_sided(t: float, degrees: int) -> float:
    """P(|T| <= t)."""
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
    """Half the interval's width of the mean of independent draws."""
    return student_t(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))


def _around(mean: float, error: float, kind: Kind) -> Interval:
    return Interval(mean - error, mean, mean + error, kind)
