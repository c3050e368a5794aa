"""What to take from a sweep: the front of PPL against FLOP savings, and the best combination for each purpose."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.analysis.group_differences import Sample, sample_of
from core.metrics import ACCURACY, FINAL_PPL, FLOP_SAVINGS, TIME_SAVINGS, Metric, Value
from core.store.reader import Reader
from core.sweeps.combinations import Combination, Ranking, main_windows, rank
from core.sweeps.objective import front, read_objectives

WITHIN = 0.01
"""Share by which a PPL may be above the best one unless another is asked for."""
READ_WINDOWS = 12
"""Number of combinations, those of the best PPL, whose windows are read to tell noise by."""


@dataclass(frozen=True)
class FrontPoint:
    """A combination by FLOP savings and PPL.

    Attributes:
        on_front: whether all its runs have finished and no other such combination beats it in both.
    """

    point: int
    savings: Value
    ppl: Value
    on_front: bool


def savings_front(found: Sequence[Combination]) -> list[FrontPoint]:
    """Return the combinations that have both figures, of the windows that most share, by FLOP savings."""
    windows = main_windows(found)
    here = [one for one in found if one.finished and one.windows == windows]
    best = set(front([cell for one in here for cell in one.cells], read_objectives("final_ppl,flop_savings")))
    points = [
        FrontPoint(one.point, savings, ppl, one.point in best)
        for one in here
        if one.mean(FINAL_PPL) is not None and (ppl := one.value(FINAL_PPL)) and (savings := one.value(FLOP_SAVINGS))
    ]
    return sorted(points, key=lambda point: (point.savings.mean, point.ppl.mean))


@dataclass(frozen=True)
class Choice:
    """The best combination for a purpose.

    Attributes:
        metric: what is best of it.
        ranking: the candidates, by their place in `candidates`, against the best one.
        candidates: combinations among which it was chosen.
    """

    purpose: str
    metric: Metric
    candidates: tuple[Combination, ...]
    ranking: Ranking

    @property
    def best(self) -> Combination:
        """The combination to take."""
        assert self.ranking.best is not None
        return self.candidates[self.ranking.best]

    @property
    def as_good(self) -> tuple[Combination, ...]:
        """Others whose difference to the best may be noise, or can't be told from it."""
        return tuple(self.candidates[index] for index in (*self.ranking.unclear, *self.ranking.unknown))


def best_by_purpose(
    found: Sequence[Combination], within: float = WITHIN, reader: Reader | None = None
) -> tuple[Choice, ...]:
    """Return the best combination for each purpose that the sweep has figures for.

    Only combinations all of whose runs have finished are candidates, on the windows that most share.

    Args:
        within: share by which a PPL may be above the best one, for purposes that trade it for savings.
        reader: reads the windows of the best ones, so that differences of PPL are over windows too; None: over seeds.
    """
    done = [one for one in found if one.complete and one.cells]
    windows = main_windows(done)
    here = [one for one in done if one.windows == windows]
    ppls = {one.point: mean for one in here if (mean := one.mean(FINAL_PPL)) is not None}
    if not ppls:
        return ()
    lowest = min(ppls.values())
    ranked = sorted((one for one in here if one.point in ppls), key=lambda one: ppls[one.point])
    near = [one for one in ranked if ppls[one.point] <= lowest * (1 + within)]
    losses = _losses(ranked[:READ_WINDOWS], reader)
    choices = (
        _choose("best PPL", FINAL_PPL, ranked, lambda one: losses.get(one.point) or one.samples(FINAL_PPL)),
        _choose("best accuracy", ACCURACY, ranked),
        _choose(f"most FLOPs saved, PPL within {100 * within:g}% of the best", FLOP_SAVINGS, near),
        _choose(f"most time saved, PPL within {100 * within:g}% of the best", TIME_SAVINGS, near),
    )
    return tuple(choice for choice in choices if choice)


def _choose(
    purpose: str,
    metric: Metric,
    candidates: Sequence[Combination],
    samples: Callable[[Combination], Mapping[int, Sample]] | None = None,
) -> Choice | None:
    """Return the best of the candidates that have the metric for each of their runs; None where there is none."""
    having = tuple(one for one in candidates if len(one.by_seed(metric)) == len(one.cells))
    ranking = rank([samples(one) if samples else one.samples(metric) for one in having], metric.better)
    return None if ranking.best is None else Choice(purpose, metric, having, ranking)


def _losses(found: Sequence[Combination], reader: Reader | None) -> dict[int, dict[int, Sample]]:
    """Read the loss of each combination's seeds with those of their windows, of those that all have them."""
    samples: dict[int, dict[int, Sample]] = {}
    for one in found if reader else ():
        assert reader is not None
        losses = {cell["seed"]: reader.window_losses(cell["id"], "early exit") for cell in one.cells}
        if all(losses.values()) and all(math.isfinite(loss) for seed in losses.values() for loss in seed):
            samples[one.point] = {seed: sample_of(windows) for seed, windows in losses.items()}
    return samples
