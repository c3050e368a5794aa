"""A column of a comparison: one run, or several seeds of one config."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from core.analysis.intervals import Interval, paired, unpaired
from core.metrics import Metric, Value
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

    def value(self, metric: Metric) -> Value | None:
        """Return mean and standard deviation of a metric, if every run has it."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        if len(values) < len(self.runs):
            return None
        return value_of(values)

    def curve(self, block: int) -> tuple[Value, ...]:
        """Return the loss in nats on the early-stopping split after each epoch that every run reached."""
        curves = [run.curves.get(block, ()) for run in self.runs]
        return tuple(value_of(losses) for losses in zip(*curves, strict=False))


def loss_difference(first: Column, second: Column) -> Interval | None:
    """Return the interval of the difference in early exit's loss, `first − second` in nats; None where there is none.

    It is over seeds and windows where both have several seeds, and over windows where both have one. Equal seeds are
    paired. Runs that were not evaluated on the same windows have no difference.
    """
    sides = [sorted(column.runs, key=lambda run: run.seed) for column in (first, second)]
    losses = [[run.window_losses for run in side] for side in sides]
    prints = {(run.fingerprint, len(run.window_losses)) for side in sides for run in side}
    if len(prints) > 1 or not losses[0][0]:
        return None
    seeds = [[run.seed for run in side] for side in sides]
    one_each = len(seeds[0]) == len(seeds[1]) == 1
    return (paired if one_each or seeds[0] == seeds[1] else unpaired)(losses[0], losses[1])


def value_of(values: Sequence[float]) -> Value:
    """Return the mean, and over several values the sample standard deviation."""
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
