"""The combinations of a sweep with their figures over seeds, from which its tables, charts and advice are made.

Importing this module imports neither torch nor Optuna.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from core.analysis.group_differences import Sample, Samples, adjusted, difference
from core.exits._facts import MethodFacts
from core.intervals import LEVEL
from core.metrics import STORED, Better, Metric, Value, value_of
from core.store.reader import Reader
from core.store.stored_sweeps import StoredSweep, cells_of, is_pruned
from core.sweeps.objective import by_point, column_of

Standing = Literal["waiting", "running", "finished", "failed", "interrupted", "pruned"]
STANDINGS: tuple[Standing, ...] = ("finished", "running", "waiting", "interrupted", "failed", "pruned")
MOST_TESTED = 50
"""Number of groups, the best ones, whose difference to the best is tested."""
Cell = Mapping[str, Any]
"""A run of a sweep, as `core.store.stored_sweeps.cells_of` has it."""


@dataclass(frozen=True)
class Combination:
    """One combination of values, with its runs.

    Attributes:
        setting: the values, by dotted name.
        cells: its runs, by seed.
    """

    point: int
    setting: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def runs(self) -> tuple[int, ...]:
        """Numbers of its runs."""
        return tuple(cell["id"] for cell in self.cells)

    @cached_property
    def finished(self) -> tuple[Cell, ...]:
        """Runs that have finished."""
        return tuple(cell for cell in self.cells if cell["status"] == "finished")

    @property
    def complete(self) -> bool:
        """Whether all its runs have finished."""
        return len(self.finished) == len(self.cells)

    @cached_property
    def windows(self) -> object:
        """Identity of the windows that it is evaluated on, as far as the sweep varies them."""
        return next((cell.get("windows") for cell in self.finished), None)

    def by_seed(self, metric: Metric) -> dict[int, float]:
        """Return a figure of each run that finished and has it."""
        column = column_of(metric)
        return {cell["seed"]: cell[column] for cell in self.finished if cell[column] is not None}

    def mean(self, metric: Metric) -> float | None:
        """Return the mean of a figure over the seeds that have it, if it is finite."""
        values = self.by_seed(metric).values()
        mean = math.fsum(values) / len(values) if values else math.nan
        return mean if math.isfinite(mean) else None

    def value(self, metric: Metric) -> Value | None:
        """Return mean and deviation of a figure over the seeds that have it."""
        values = list(self.by_seed(metric).values())
        return value_of(values) if values else None

    def samples(self, metric: Metric) -> dict[int, Sample]:
        """Return a figure of each seed, to be compared: of a PPL the loss in nats."""
        return {seed: Sample(comparable(value, metric)) for seed, value in self.by_seed(metric).items()}


def combinations(cells: Sequence[Cell]) -> list[Combination]:
    """Group the runs of a sweep by their combination of values, in the order of the points."""
    return [
        Combination(point, group[0]["setting"], tuple(sorted(group, key=lambda cell: int(cell["seed"]))))
        for point, group in by_point(cells).items()
    ]


def stored_combinations(reader: Reader, sweep: StoredSweep) -> list[Combination]:
    """Read the combinations of a sweep; their evaluation windows are told apart where what it varies changes them."""
    search = sweep.spec["search"]
    names = sweep.spec["axes"] if search is None else search["space"]
    other_windows = any(name.startswith("data.") or name == "model.source" for name in names)
    return combinations(cells_of(reader, sweep.number, windows=other_windows))


def standing(cell: Cell) -> Standing:
    """Return how a run stands: its status, pruned where its search gave it up, waiting where it is queued."""
    if cell["status"] == "interrupted" and is_pruned(cell):
        return "pruned"
    return "waiting" if cell["status"] == "queued" else cell["status"]


def standings(cells: Iterable[Cell]) -> dict[Standing, int]:
    """Count runs by how they stand, those that there are."""
    counts = Counter(map(standing, cells))
    return {one: counts[one] for one in STANDINGS if counts[one]}


def known_metrics(found: Sequence[Combination]) -> tuple[Metric, ...]:
    """Return the metrics that some run of a sweep has, in the order of lists."""
    cells = [cell for one in found for cell in one.finished]
    return tuple(metric for column, metric in STORED if any(cell[column.name] is not None for cell in cells))


def main_windows(found: Iterable[Combination]) -> object:
    """Return the identity of the windows that most combinations are evaluated on; only those are ranked together."""
    counts = Counter(one.windows for one in found if one.finished)
    return max(counts, key=lambda windows: counts[windows], default=None)


def varied(found: Sequence[Combination]) -> tuple[str, ...]:
    """Return the names of what a sweep varies, in its order."""
    return tuple(dict.fromkeys(name for one in found for name in one.setting))


def written(value: Any, name: str = "") -> str:
    """Write a value of a setting; a user's own method by its name."""
    if name == "method":
        return MethodFacts(str(value), False, "rank").label
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if isinstance(value, bool | list | dict) or value is None else str(value)


def title(one: Combination) -> str:
    """Write a combination's values: `loss 0.3`; `as it is` where nothing is varied."""
    return " ".join(written(value, name) for name, value in one.setting.items()) or "as it is"


def comparable(value: float, metric: Metric) -> float:
    """Return what differences of a figure are taken of: of a PPL the loss in nats."""
    return math.log(value) if metric.unit == "ppl" and value > 0 else value


@dataclass(frozen=True)
class Ranking:
    """Groups against the best of them.

    Attributes:
        best: index of the best one; None where no group has a figure.
        unclear: indices of others whose difference to the best may be noise, better ones first.
        unknown: indices of others of which nothing is known to tell noise by, such as those of one seed.
        untested: how many others were too many to be tested.
    """

    best: int | None = None
    unclear: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    untested: int = 0

    @property
    def leading(self) -> frozenset[int]:
        """The best one and those that are not known to be worse."""
        return frozenset(() if self.best is None else (self.best, *self.unclear, *self.unknown))


def rank(groups: Sequence[Mapping[int, Sample]], better: Better) -> Ranking:
    """Compare each group with the best one, by a 95% test corrected for their number (Holm).

    Args:
        groups: samples by seed, of one metric on the same windows; groups without any, or with one that is not finite,
            are left out.
    """
    known = {
        index: Samples.of(group)
        for index, group in enumerate(groups)
        if group and all(math.isfinite(sample.mean) for sample in group.values())
    }
    means = {index: samples.mean for index, samples in known.items()}
    if not means or better is None:
        return Ranking()
    order = sorted(means, key=lambda index: means[index] if better == "lower" else -means[index])
    best, tested = order[0], order[1 : MOST_TESTED + 1]
    found = {index: difference(known[index], known[best]) for index in tested}
    estimates = {index: estimate for index, estimate in found.items() if estimate is not None}
    p_values = adjusted(estimates)
    return Ranking(
        best,
        tuple(index for index in tested if p_values.get(index, 0.0) >= 1 - LEVEL),
        tuple(index for index in tested if index not in estimates),
        len(order) - 1 - len(tested),
    )
