"""What a search looks for: objectives and constraints on metrics, and the combinations that meet them best.

A combination's value is the mean over its seeds. Importing this module imports neither torch nor Optuna.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.messages import near_name, shortened
from core.errors import ConfigError
from core.metrics import STORED, Metric

ALIASES = {"eval_ppl": "final_ppl"}
_CONSTRAINT = re.compile(r"(?P<metric>[a-z0-9_.]+)\s*(?P<operator><=|>=)\s*(?P<number>.+)")

Cells = Sequence[Mapping[str, Any]]
"""Runs as `core.store.stored_sweeps.cells_of` has them."""


def _known() -> dict[str, Metric]:
    """Return the metrics that a search can ask for by every name that they have in lists and tables."""
    found = {name: metric for column, metric in STORED for name in (column.name, column.word, metric.key)}
    return found | {alias: found[name] for alias, name in ALIASES.items()}


def column_of(metric: Metric) -> str:
    """Return the column of the store that holds a metric of lists."""
    assert metric.list_column is not None
    return metric.list_column.name


@dataclass(frozen=True)
class Objective:
    """A metric to be as low, or as high, as can be; `column` is its column in the store."""

    name: str
    column: str
    higher: bool


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, as it was written."""

    text: str
    column: str
    at_least: bool
    bound: float

    def violation(self, value: float) -> float:
        """Return how far a value is beyond the bound; at most 0 where it keeps it."""
        return self.bound - value if self.at_least else value - self.bound


def read_objectives(text: str) -> tuple[Objective, ...]:
    """Read objectives: names of metrics, separated by commas.

    Raises:
        ConfigError: a metric is unknown, given twice, or neither better low nor high.
    """
    found = list[Objective]()
    for name in (part.strip() for part in text.split(",")):
        metric = metric_called(name, "--objective")
        if metric.better is None:
            raise ConfigError(f"--objective {name}: it is neither better low nor high; use it in a --constraint")
        found.append(Objective(name, column_of(metric), metric.better == "higher"))
    if len({one.column for one in found}) < len(found):
        raise ConfigError(f"--objective {shortened(text)} names a metric twice")
    return tuple(found)


def read_constraint(text: str) -> Constraint:
    """Read a constraint, such as `flop_savings>=0.3` or `accuracy>=20%`.

    Raises:
        ConfigError: it is none, or its metric is unknown.
    """
    match = _CONSTRAINT.fullmatch(text.strip())
    number = match["number"].strip() if match else ""
    try:
        bound = float(number.removesuffix("%")) * (0.01 if number.endswith("%") else 1)
    except ValueError:
        match = None
    if match is None or bound != bound:
        raise ConfigError(f"--constraint takes METRIC>=NUMBER or METRIC<=NUMBER, got {shortened(text)!r}")
    column = column_of(metric_called(match["metric"], "--constraint"))
    return Constraint(text.strip(), column, match["operator"] == ">=", bound)


def metric_called(name: str, option: str) -> Metric:
    """Return the metric of lists that a name stands for.

    Args:
        option: where the name was given, for the message.

    Raises:
        ConfigError: there is none.
    """
    known = _known()
    if name not in known:
        near = near_name(name, tuple(known))
        raise ConfigError(f"{option} {shortened(name)!r} is no metric{near}; take one of {', '.join(known)}")
    return known[name]


def mean_of(cells: Cells, column: str) -> float | None:
    """Return the mean of a figure over the runs of a combination; None unless all finished and have it."""
    values = [cell[column] if cell["status"] == "finished" else None for cell in cells]
    return None if not values or None in values else statistics.fmean(value for value in values if value is not None)


def by_point(cells: Cells) -> dict[int, list[Mapping[str, Any]]]:
    """Group the runs of a sweep by their combination."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(cell["point"], []).append(cell)
    return groups


def front(cells: Cells, objectives: Sequence[Objective], constraints: Iterable[Constraint] = ()) -> list[int]:
    """Return the combinations that keep all constraints and that none other beats in every objective, best first.

    With one objective these are the best one, and those as good.
    """
    bounds, kept = list(constraints), dict[int, tuple[float, ...]]()
    for point, group in by_point(cells).items():
        values = [mean_of(group, one.column) for one in objectives]
        limits = [mean_of(group, one.column) for one in bounds]
        if None in values or None in limits:
            continue
        if all(one.violation(value) <= 0 for one, value in zip(bounds, limits, strict=True) if value is not None):
            signed = zip(values, objectives, strict=True)
            kept[point] = tuple(-value if one.higher else value for value, one in signed if value is not None)
    found = list[int]()
    for point in sorted(kept, key=lambda point: kept[point]):  # none can be beaten by one that comes later
        if not any(_beats(kept[other], kept[point]) for other in found):
            found.append(point)
    return found


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
