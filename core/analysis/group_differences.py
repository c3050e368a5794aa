"""Differences between groups of runs, corrected for their number, and the seeds that would settle them.

Plain Python, so that comparing runs does not import NumPy.
"""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import sub
from typing import Self, TypeVar

from core.intervals import LEVEL, Error, Estimate, estimate_of, standard_error, student_t, window_blocks

Key = TypeVar("Key", bound=Hashable)
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


@dataclass(frozen=True, slots=True)
class Samples:
    """The losses of a group in nats, one for each seed.

    Attributes:
        seeds: in order.
        means: mean of each seed.
        blocks: mean over the seeds of each block of windows; empty if these are not known.
        alike: whether all seeds have as many blocks, or none.
        error: standard error of the mean over seeds; None of one seed.
    """

    seeds: tuple[int, ...]
    means: tuple[float, ...]
    blocks: tuple[float, ...] = ()
    alike: bool = True
    mean: float = field(init=False)
    error: Error | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", statistics.fmean(self.means))
        object.__setattr__(self, "error", standard_error(self.means))

    @classmethod
    def of(cls, samples: Mapping[int, Sample]) -> Self:
        """Return the samples of a group by seed."""
        seeds = tuple(sorted(samples))
        sides = [samples[seed].blocks for seed in seeds]
        alike = len(set(map(len, sides))) == 1
        blocks = tuple(map(statistics.fmean, zip(*sides, strict=True))) if alike else ()
        return cls(seeds, tuple(samples[seed].mean for seed in seeds), blocks, alike)


def difference(first: Samples, second: Samples) -> Estimate | None:
    """Return the estimate of `first − second` of two groups on the same windows.

    It is over seeds and windows, over seeds where windows are not known, and over windows where each has one seed.
    Groups with the same seeds are paired by seed; else the spreads of both add up.

    Returns:
        The estimate; None where nothing is known of what varies.
    """
    mean = first.mean - second.mean
    alike = first.alike and second.alike and len(first.blocks) == len(second.blocks)
    blocks = list(map(sub, first.blocks, second.blocks)) if alike else []
    if len(first.seeds) == len(second.seeds) == 1:
        return estimate_of(mean, "windows", standard_error(blocks))
    if first.seeds == second.seeds:
        errors = [standard_error(list(map(sub, first.means, second.means)))]
    else:
        errors = [first.error, second.error]
    if not blocks:
        return estimate_of(mean, "seeds", *errors)
    return estimate_of(mean, "seeds and windows", *errors, standard_error(blocks))


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


def adjusted(estimates: Mapping[Key, Estimate]) -> dict[Key, float]:
    """Return the p-value of each estimate, adjusted for their number (`holm`)."""
    return dict(zip(estimates, holm([estimate.p_value() for estimate in estimates.values()]), strict=True))


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
