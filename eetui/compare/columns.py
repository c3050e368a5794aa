"""A column of a comparison: one run, or several seeds of one config."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from core.metrics import Metric, Value
from eetui.compare.run_view import RunView


@dataclass(frozen=True)
class Column:
    """One run, or the runs of one config with several seeds."""

    runs: tuple[RunView, ...]
    own_title: str = ""

    @property
    def title(self) -> str:
        several = f"{self.runs[0].method} ×{len(self.runs)}"
        return self.own_title or (self.runs[0].name if len(self.runs) == 1 else several)

    @property
    def subtitle(self) -> str:
        """`seed 42`, or the seeds that the mean is over."""
        seeds = ", ".join(str(run.seed) for run in self.runs)
        return f"one seed: {seeds}" if len(self.runs) == 1 else f"{len(self.runs)} seeds: {seeds}"

    @property
    def fingerprint(self) -> str:
        return self.runs[0].fingerprint

    @property
    def window_losses(self) -> list[float]:
        """Early exit's loss of each evaluation window, mean over the seeds; empty where a run has none."""
        losses = [run.window_losses for run in self.runs]
        if len({len(run) for run in losses}) != 1:
            return []
        return [statistics.fmean(window) for window in zip(*losses, strict=True)]

    def value(self, metric: Metric) -> Value | None:
        """Mean and standard deviation of a metric, if every run has it."""
        values = [run.metrics[metric] for run in self.runs if metric in run.metrics]
        if len(values) < len(self.runs):
            return None
        return value_of(values)

    def curve(self, block: int) -> tuple[Value, ...]:
        """Loss in nats on the early-stopping split after each epoch that every run reached."""
        curves = [run.curves.get(block, ()) for run in self.runs]
        return tuple(value_of(losses) for losses in zip(*curves, strict=False))


def value_of(values: Sequence[float]) -> Value:
    """The mean, and over several the sample standard deviation."""
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
