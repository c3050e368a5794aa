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
from operator import mul
from typing import Literal

BLOCK_WINDOWS = 32
"""Largest number of windows in a block."""
SMALLEST_BLOCK = 4
"""Smallest number of windows in a block: single windows are too correlated."""
WANTED_BLOCKS, FEWEST_BLOCKS = 8, 6
"""Number of blocks for which they are made smaller, and number below which there is no interval."""
LEVEL = 0.95
LEAST_P = 1e-9
"""P-value below which none is told apart."""

EXPANDED_DEGREES = 1000
"""Degrees of freedom above which a quantile is expanded, to 1e-10: the closed form adds up half as many terms."""

Kind = Literal["windows", "seeds", "seeds and windows", "rounds"]
Error = tuple[float, int]
"""Standard error of a mean, and its degrees of freedom."""


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of draws, from which its interval follows at any level.

    Attributes:
        errors: standard error and degrees of freedom of each kind of draws that varies.
        kind: what varies.
    """

    mean: float
    errors: tuple[Error, ...]
    kind: Kind

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval: standard errors times t quantiles of their own degrees of freedom, in quadrature."""
        return _around(self.mean, self.half_width(level), self.kind)

    def half_width(self, level: float) -> float:
        """Return half the width of the interval."""
        return math.hypot(*(student_t(degrees, level) * error for error, degrees in self.errors))

    def p_value(self) -> float:
        """Return 1 minus the level at which the interval just reaches 0, of two-sided tests; at least `LEAST_P`."""
        wanted = abs(self.mean)
        if not wanted:
            return 1.0  # also where nothing varies, as between runs that are the same
        if self.half_width(1 - LEAST_P) < wanted:
            return LEAST_P
        low, high = math.log(LEAST_P), 0.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(-math.expm1(middle)) > wanted else (low, middle)
        return math.exp(high)


def estimate(mean: float, kind: Kind, *draws: Sequence[float]) -> Estimate | None:
    """Return the estimate of a mean that several kinds of independent draws vary; None if there are too few of one.

    Args:
        draws: values of each kind, such as the differences of seeds `[S]` and those of blocks of windows `[B]`.
    """
    return estimate_of(mean, kind, *map(standard_error, draws))


def estimate_of(mean: float, kind: Kind, *errors: Error | None) -> Estimate | None:
    """Return the estimate of a mean from the errors of the draws that vary it; None if one is not known."""
    known = tuple(error for error in errors if error is not None)
    return Estimate(mean, known, kind) if len(known) == len(errors) else None


def standard_error(draws: Sequence[float]) -> Error | None:
    """Return standard error and degrees of freedom of the mean of independent draws; None of fewer than two."""
    if len(draws) < 2:
        return None
    return deviation(draws, statistics.fmean(draws)) / math.sqrt(len(draws)), len(draws) - 1


def deviation(values: Sequence[float], mean: float) -> float:
    """Return the sample standard deviation of at least two values, of which the mean is known.

    statistics.stdev works with fractions, and takes 30 times as long.
    """
    apart = [value - mean for value in values]
    return math.sqrt(math.fsum(map(mul, apart, apart)) / (len(values) - 1))


def over_windows(differences: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over windows of one text, in order; None if there are too few windows."""
    blocks = window_blocks(differences)
    return _at(level, estimate(statistics.fmean(differences), "windows", blocks)) if blocks else None


def over_seeds(differences: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over seeds, of one number for each; None for a single seed."""
    return _at(level, estimate(statistics.fmean(differences), "seeds", differences)) if differences else None


def over_seeds_and_windows(differences: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean over seeds and windows; None if there are too few of either.

    Args:
        differences: differences of every seed on the same windows, `[S, W]`.

    Raises:
        ValueError: the seeds have different numbers of windows.
    """
    windows = [statistics.fmean(window) for window in zip(*differences, strict=True)]
    return _of_both(windows, differences, level=level)


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

    A side of one seed is taken to vary over seeds as the other does.

    Args:
        first, second: loss of each window of each seed, `[S, W]` and `[S', W]`.

    Returns:
        The interval; None if there are too few windows, or both sides have one seed only.

    Raises:
        ValueError: the numbers of windows differ.
    """
    sides = [[statistics.fmean(window) for window in zip(*side, strict=True)] for side in (first, second)]
    windows = [a - b for a, b in zip(*sides, strict=True)]
    return _of_both(windows, first, second, level=level)


def unpaired_seeds(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of `first − second` over different seeds, of one number for each: the spreads add up.

    Returns:
        The interval; None if both sides have one seed only.
    """
    mean = statistics.fmean(first) - statistics.fmean(second)
    return _at(level, estimate_of(mean, "seeds", *of_independent(standard_error(first), standard_error(second))))


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

    It inverts the closed form of the distribution (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4) by Newton's method
    from the normal quantile below it: the distribution is concave there, so steps never go past the root. Above
    `EXPANDED_DEGREES` it is the expansion around that quantile (26.7.5).

    Raises:
        ValueError: the degrees of freedom are below 1.
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be >= 1, got {degrees}")
    t = statistics.NormalDist().inv_cdf((1 + level) / 2)
    if degrees > EXPANDED_DEGREES:
        return _expanded(t, degrees)
    scale = 2 * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    for _ in range(100):
        slope = scale * (1 + t * t / degrees) ** (-(degrees + 1) / 2)
        step = (level - _two_sided(t, degrees)) / slope
        t += step
        if abs(step) <= 1e-9 * t:
            break
    return t


def _expanded(normal: float, degrees: int) -> float:
    """Return the quantile of Student's t that belongs to a quantile of the normal distribution, of many degrees."""
    x, square = normal, normal * normal
    terms = (
        x * (square + 1) / 4,
        x * ((5 * square + 16) * square + 3) / 96,
        x * (((3 * square + 19) * square + 17) * square - 15) / 384,
        x * ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945) / 92160,
    )
    return x + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))


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


def _of_both(windows: Sequence[float], *sides: Sequence[Sequence[float]], level: float) -> Interval | None:
    """Return the interval of a mean over windows and over the seeds of each side, `[S, W]`."""
    if not (blocks := window_blocks(windows)):
        return None
    seeds = ([statistics.fmean(seed) for seed in side] for side in sides)
    errors = (*of_independent(*map(standard_error, seeds)), standard_error(blocks))
    return _at(level, estimate_of(statistics.fmean(windows), "seeds and windows", *errors))


def of_independent(*sides: Error | None) -> list[Error | None]:
    """Return the standard errors of the means over seeds, of one side or of two that are drawn apart.

    A side of one seed, whose spread can't be known, is taken to vary as the other does (Crawford and Howell 1998).
    """
    match sides:
        case [None, (error, degrees)] | [(error, degrees), None]:  # one estimate of both: its degrees are all there are
            return [(error * math.sqrt(degrees + 2), degrees)]
    return list(sides)


def _at(level: float, found: Estimate | None) -> Interval | None:
    return None if found is None else found.interval(level)


def _around(mean: float, error: float, kind: Kind) -> Interval:
    return Interval(mean - error, mean, mean + error, kind)
