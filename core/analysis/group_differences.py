"""Differences between groups of runs, corrected for their number, and the seeds that would settle them.

Plain Python, so that comparing runs does not import NumPy.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.intervals import LEVEL, Estimate, estimate, student_t, window_blocks

POWER = 0.8
"""Probability with which a true difference of the size observed is to be found."""
MOST_SEEDS = 1000
"""Number of seeds above which no figure is given."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The loss of one seed in nats: its mean, and the means of its blocks of windows, if these are known."""

    mean: float
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedsNeeded:
    """Number of seeds in each group that would settle a difference; None with the reason why there is no figure."""

    seeds: int | None
    reason: str = ""

    def __str__(self) -> str:
        if self.seeds is None:
            return self.reason
        return f"more than {MOST_SEEDS:,}" if self.seeds > MOST_SEEDS else f"{self.seeds:,}"


ONE_SEED = SeedsNeeded(None, "unknown: one seed")
MORE_TEXT = SeedsNeeded(None, "none: too little text")


def sample_of(windows: Sequence[float]) -> Sample:
    """Return the sample of one run, from the loss of each of its windows in order."""
    return Sample(statistics.fmean(windows), tuple(window_blocks(windows)))


def mean_of(samples: Sequence[Sample]) -> Sample:
    """Return the mean of the runs of one seed; without blocks where some have none or another number of them."""
    counts = {len(sample.blocks) for sample in samples}
    blocks = map(statistics.fmean, zip(*(sample.blocks for sample in samples), strict=True)) if len(counts) == 1 else ()
    return Sample(statistics.fmean(sample.mean for sample in samples), tuple(blocks))


def difference(first: Mapping[int, Sample], second: Mapping[int, Sample]) -> Estimate | None:
    """Return the estimate of `first − second` of two groups on the same windows.

    It is over seeds and windows, over seeds where windows are not known, and over windows where each has one seed.
    Groups with the same seeds are paired by seed; else the spreads of both add up.

    Args:
        first, second: samples by seed.

    Returns:
        The estimate; None where nothing is known of what varies.
    """
    paired = set(first) == set(second)
    counts = {len(sample.blocks) for side in (first, second) for sample in side.values()}
    mean = _mean(first) - _mean(second)
    blocks = [a - b for a, b in zip(_blocks(first), _blocks(second), strict=True)] if len(counts) == 1 else []
    if len(first) == len(second) == 1:
        return estimate(mean, "windows", blocks)
    if paired:
        seeds: list[list[float]] = [[first[seed].mean - second[seed].mean for seed in first]]
    else:
        seeds = [[sample.mean for sample in side.values()] for side in (first, second)]
    return estimate(mean, "seeds and windows", *seeds, blocks) if blocks else estimate(mean, "seeds", *seeds)


def _mean(side: Mapping[int, Sample]) -> float:
    return statistics.fmean(sample.mean for sample in side.values())


def _blocks(side: Mapping[int, Sample]) -> list[float]:
    return [statistics.fmean(block) for block in zip(*(sample.blocks for sample in side.values()), strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number m, in the order given (Holm 1979).

    The k-th lowest is multiplied by m − k + 1, and none is lower than the one before it. Rejecting what is at most α
    keeps the probability of any false rejection at α, however the tests depend on each other.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def seeds_needed(found: Estimate, alpha: float = 1 - LEVEL, power: float = POWER) -> SeedsNeeded:
    """Return the number of seeds that each group needs for a true difference of that size to be found with that power.

    It is the lowest n with `d² ≥ (t₁₋α⸝₂ + t_power)² s² / n`, t of n − 1 degrees of freedom and s² the variance over
    seeds, of their differences or of both sides added up (Chow, Shao and Wang 2008, sections 3.1 and 3.2, which take
    the normal quantiles that t approaches). The error over windows, which more seeds do not lower, counts in the same
    way with its own degrees of freedom and is added to the right side, as the interval adds it. Spread and difference
    are themselves estimates, from few seeds: take the figure as an order of magnitude.

    Args:
        alpha: level of the two-sided test.
    """
    if found.kind == "windows":
        return ONE_SEED
    seeds, windows = (found.errors[:-1], found.errors[-1:]) if found.kind == "seeds and windows" else (found.errors, ())
    room = found.mean**2 - sum((_factor(degrees, alpha, power) * error) ** 2 for error, degrees in windows)
    if room <= 0:
        return MORE_TEXT if found.mean and windows else SeedsNeeded(MOST_SEEDS + 1)
    variance = sum(error**2 * (degrees + 1) for error, degrees in seeds)
    normal = statistics.NormalDist()
    least = (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) ** 2 * variance / room
    count = max(2, math.ceil(min(least, MOST_SEEDS + 1)))
    while count <= MOST_SEEDS and _factor(count - 1, alpha, power) ** 2 * variance / count > room:
        count += 1
    return SeedsNeeded(count)


def _factor(degrees: int, alpha: float, power: float) -> float:
    """Return the sum of the t quantiles of 1 − α/2 and of the power, which must be above one half."""
    return student_t(degrees, 1 - alpha) + student_t(degrees, 2 * power - 1)
