"""A column of a comparison: one run, or several seeds of one config."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.intervals import Interval, of_two, over_seeds, paired, unpaired, unpaired_seeds
from core.metrics import FINAL_PPL, Metric, Value, best_of, value_of
from eetui.compare.run_view import RunView
from eetui.drawing.harmless import one_line


@dataclass(frozen=True)
class Column:
    """One run, or the runs of one config with several seeds."""

    runs: tuple[RunView, ...]
    own_title: str = ""

    @property
    def exact_title(self) -> str:
        """The title as data: a run's name as it is stored."""
        several = f"{self.runs[0].method} ×{len(self.runs)}"
        return self.own_title or (self.runs[0].name if len(self.runs) == 1 else several)

    @property
    def title(self) -> str:
        """The title to show, harmless and on one line."""
        return one_line(self.exact_title)

    @property
    def subtitle(self) -> str:
        """`seed 42`, or the seeds that the mean is over."""
        seeds = ", ".join(str(run.seed) for run in self.runs)
        return f"one seed: {seeds}" if len(self.runs) == 1 else f"{len(self.runs)} seeds: {seeds}"

    @property
    def fingerprint(self) -> str:
        return self.runs[0].fingerprint

    def windows_of(self, metric: Metric) -> tuple[str, str]:
        """Return the identity of the windows that a metric was measured on; figures of others can't be compared."""
        own = self.title if metric.own_tokens else ""
        return self.fingerprint, f"{self.runs[0].training_windows} {own}" if metric.table == "training" else ""

    def value(self, metric: Metric) -> Value | None:
        """Return mean and standard deviation of a metric, if every run has it."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        if len(values) < len(self.runs):
            return None
        return value_of(values)

    def curve(self, block: int) -> dict[int, Value]:
        """Return the loss in nats on the early-stopping split after each epoch that every run has, by epoch."""
        first, *others = [run.curves.get(block, {}) for run in self.runs]
        epochs = [epoch for epoch in first if all(epoch in curve for curve in others)]
        return {epoch: value_of([first[epoch], *(curve[epoch] for curve in others)]) for epoch in epochs}


def loss_difference(first: Column, second: Column) -> Interval | None:
    """Return the interval of the difference in early exit's loss, `first − second` in nats (`difference`)."""
    return difference(first, second, FINAL_PPL)


def difference(first: Column, second: Column, metric: Metric) -> Interval | None:
    """Return the interval of the difference in a metric, `first − second`; of PPLs and bits that of the loss in nats.

    It is over seeds and windows where both have several seeds and the figures of their windows, over windows where
    both have one seed, over seeds where only those are known, and over rounds where both were timed. Equal seeds are
    paired.

    Returns:
        The interval; None where nothing is known of what varies, or the windows differ.
    """
    if first.windows_of(metric) != second.windows_of(metric):
        return None
    sides = [sorted(column.runs, key=lambda run: run.seed) for column in (first, second)]
    seeds = [[run.seed for run in side] for side in sides]
    one_each = len(seeds[0]) == len(seeds[1]) == 1
    windows = [[run.windows.get(metric, ()) for run in side] for side in sides]
    lengths = {len(values) for side in windows for values in side}
    if len(lengths) == 1 and lengths != {0}:
        if not all(math.isfinite(loss) for side in windows for values in side for loss in values):
            return None
        return (paired if one_each or seeds[0] == seeds[1] else unpaired)(windows[0], windows[1])
    if one_each:
        timed = [side[0].intervals.get(metric) for side in sides]
        return None if timed[0] is None or timed[1] is None else of_two(timed[0], timed[1])
    if not all(math.isfinite(run.metrics.get(metric, math.nan)) for side in sides for run in side):
        return None
    logarithm = metric.unit == "ppl"
    values = [[math.log(run.metrics[metric]) if logarithm else run.metrics[metric] for run in side] for side in sides]
    if seeds[0] == seeds[1]:
        return over_seeds([a - b for a, b in zip(*values, strict=True)])
    return unpaired_seeds(values[0], values[1])


def leaders(columns: Sequence[Column], metric: Metric) -> list[Column]:
    """Return the column with the best value of a metric, then those that are not clearly worse.

    Args:
        columns: columns that have the metric, on the same windows.
    """
    means = [(column, value.mean) for column in columns if (value := column.value(metric))]
    finite = [(column, mean) for column, mean in means if math.isfinite(mean)]
    if not finite:
        return list(columns)
    lowest = best_of([mean for _, mean in finite], metric.better)
    best = next(column for column, mean in finite if mean == lowest)
    return [best, *(column for column, _ in finite if column is not best and not clearly_worse(column, best, metric))]


def clearly_worse(column: Column, best: Column, metric: Metric) -> bool:
    """Tell whether the interval of the difference excludes 0, on the side that is worse."""
    found = difference(column, best, metric)
    return found is not None and (found.low > 0 if metric.better == "lower" else found.high < 0)
