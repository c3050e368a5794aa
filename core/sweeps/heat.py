"""A sweep's heat table: a metric over two of the fields that it varies, the others averaged over."""

import json
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.analysis.group_differences import Sample
from core.config.messages import did_you_mean, shortened
from core.errors import UsageError
from core.metrics import Metric, Value, value_of
from core.sweeps.combinations import (
    Combination,
    Ranking,
    comparable,
    known_metrics,
    main_windows,
    rank,
    varied,
    written,
)

MOST_LEVELS = 12
"""Number of different numbers above which an axis shows ranges of them."""
RANGES = 8
MANY_TIMES = 100.0
"""Ratio of the largest number to the lowest, both positive, from which ranges are even in their logarithm."""


@dataclass(frozen=True)
class Levels:
    """One axis of the table: the values of a field, or ranges of them.

    Attributes:
        name: the field's dotted name; empty for an axis that shows nothing.
        labels: as they are shown, in order.
        places: index of each value, by its JSON text.
    """

    name: str
    labels: tuple[str, ...]
    places: Mapping[str, int] = field(repr=False)

    def place(self, one: Combination) -> int | None:
        """Return the index of a combination; None if it has no such value."""
        return self.places.get(_key(one.setting[self.name])) if self.name in one.setting else None


@dataclass(frozen=True)
class HeatCell:
    """Combinations that share a place in the table.

    Attributes:
        points: their numbers.
        value: mean over their runs that finished, and over several seeds the deviation of the seeds' means.
        finished, runs: number of runs that finished, and of all.
        warmth: share of the ranked cells with other figures that are worse: 1 for the best, 0 for the worst; None:
            not ranked.
        leads: whether it is the best one, or not known to be worse.
    """

    points: tuple[int, ...]
    value: Value | None
    finished: int
    runs: int
    warmth: float | None = None
    leads: bool = False


@dataclass(frozen=True)
class HeatTable:
    """A metric by two fields.

    Attributes:
        cells: by row and column; None where the sweep has no combination.
        averaged: names of fields that are averaged over.
        ranking: the cells, row by row, against the best one.
        others: number of cells of other evaluation windows, which are not ranked.
    """

    metric: Metric
    rows: Levels
    columns: Levels
    cells: tuple[tuple[HeatCell | None, ...], ...]
    averaged: tuple[str, ...]
    ranking: Ranking
    others: int = 0


def heat_table(
    found: Sequence[Combination], metric: Metric | None = None, rows: str | None = None, columns: str | None = None
) -> HeatTable | None:
    """Return the table of a sweep; None where it varies nothing, or no run has a figure.

    Args:
        metric: None: the final PPL, or else the first that there is.
        rows, columns: names of fields, whole or their last part; None: the method across, the first other field down.

    Raises:
        UsageError: the sweep does not vary such a field, or both are the same.
    """
    names, metrics = varied(found), known_metrics(found)
    metric = metric or next((one for one in metrics if one.unit == "ppl" and one.key == "final_ppl"), None)
    metric = metric or next(iter(metrics), None)
    if not names or metric is None:
        return None
    down, across = chosen_axes(names, rows, columns)
    axes = levels(found, down), levels(found, across)
    groups: dict[tuple[int, int], list[Combination]] = {}
    for one in found:
        place = axes[0].place(one), axes[1].place(one) if across else 0
        if place[0] is not None and place[1] is not None:
            groups.setdefault((place[0], place[1]), []).append(one)
    averaged = tuple(name for name in names if name not in (down, across))
    return _ranked(metric, *axes, groups, averaged, main_windows(found))


def chosen_axes(names: Sequence[str], rows: str | None = None, columns: str | None = None) -> tuple[str, str]:
    """Return the fields down and across; the latter is empty where only one is varied.

    Raises:
        UsageError: there is no such field among `names`, or both are the same.
    """
    down, across = (one and _named(one, names, option) for one, option in ((rows, "--rows"), (columns, "--columns")))
    if down and down == across:
        raise UsageError(f"--rows and --columns are both {down}: take two fields of {', '.join(names)}")
    if not across:
        across = next((name for name in ("method", *names[1:], *names) if name in names and name != down), "")
        across = "" if len(names) == 1 else across
    if not down:
        down = next((name for name in names if name != across), names[0])
    return down, across


def _named(name: str, names: Sequence[str], option: str) -> str:
    for known in names:
        if name in (known, known.rpartition(".")[2]):
            return known
    hint = did_you_mean(name, tuple(names)).partition("; eetui")[0]
    raise UsageError(f"{option} {shortened(name)!r} is not varied by this sweep{hint}; take one of {', '.join(names)}")


def levels(found: Sequence[Combination], name: str) -> Levels:
    """Return an axis: numbers by size, other values in their order; many different numbers in ranges."""
    values = {_key(one.setting[name]): one.setting[name] for one in found if name in one.setting} if name else {}
    if not values:
        return Levels(name, ("",), {})
    numbers = {key: value for key, value in values.items() if is_number(value)}
    if len(numbers) < len(values):
        return Levels(
            name, tuple(written(value, name) for value in values.values()), {key: n for n, key in enumerate(values)}
        )
    if len(numbers) > MOST_LEVELS:
        return _ranges(name, numbers)
    order = sorted(numbers, key=lambda key: numbers[key])
    return Levels(name, tuple(written(numbers[key]) for key in order), {key: place for place, key in enumerate(order)})


def _ranges(name: str, numbers: Mapping[str, float]) -> Levels:
    low, high = min(numbers.values()), max(numbers.values())
    if low > 0 and high / low >= MANY_TIMES:
        edges = [low * (high / low) ** (step / RANGES) for step in range(RANGES + 1)]
    else:
        edges = [low + (high - low) * step / RANGES for step in range(RANGES + 1)]
    labels = tuple(f"{edges[step]:.3g}–{edges[step + 1]:.3g}" for step in range(RANGES))
    return Levels(name, labels, {key: bisect_right(edges[1:-1], value) for key, value in numbers.items()})


def is_number(value: Any) -> bool:
    """Whether a value of a setting is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> str:
    return json.dumps(value)


def _ranked(
    metric: Metric, down: Levels, across: Levels, groups: Mapping[tuple[int, int], Sequence[Combination]],
    averaged: tuple[str, ...], windows: object,
) -> HeatTable:  # fmt: skip
    cells = {place: _cell(metric, group) for place, group in groups.items()}
    here = {
        place: group for place, group in groups.items() if {one.windows for one in group if one.finished} == {windows}
    }
    ranking = rank([_samples(metric, here.get(place, ())) for place in cells], metric.better)
    leading = {place for index, place in enumerate(cells) if index in ranking.leading}
    warmth = _warmth({place: cell.value.mean for place, cell in cells.items() if place in here and cell.value}, metric)
    shown = {
        place: HeatCell(cell.points, cell.value, cell.finished, cell.runs, warmth.get(place), place in leading)
        for place, cell in cells.items()
    }
    return HeatTable(
        metric, down, across,
        tuple(
            tuple(shown.get((row, column)) for column in range(len(across.labels))) for row in range(len(down.labels))
        ),
        averaged, ranking, sum(place not in here and cell.value is not None for place, cell in cells.items()),
    )  # fmt: skip


def _cell(metric: Metric, group: Sequence[Combination]) -> HeatCell:
    values = [value for one in group for value in one.by_seed(metric).values()]
    mean = statistics.fmean(values) if values else None
    seeds = _by_seed(metric, group)
    deviation = value_of([statistics.fmean(one) for one in seeds.values()]).deviation if len(seeds) > 1 else None
    return HeatCell(
        tuple(one.point for one in group),
        None if mean is None else Value(mean, deviation),
        sum(len(one.finished) for one in group),
        sum(len(one.cells) for one in group),
    )


def _by_seed(metric: Metric, group: Sequence[Combination]) -> dict[int, list[float]]:
    """Return the figures of each seed that all combinations of a cell have."""
    found: dict[int, list[float]] = {}
    for one in group:
        for seed, value in one.by_seed(metric).items():
            found.setdefault(seed, []).append(value)
    return {seed: values for seed, values in found.items() if len(values) == len(group)}


def _samples(metric: Metric, group: Sequence[Combination]) -> dict[int, Sample]:
    return {
        seed: Sample(statistics.fmean(comparable(value, metric) for value in values))
        for seed, values in _by_seed(metric, group).items()
    }


def _warmth(means: Mapping[tuple[int, int], float], metric: Metric) -> dict[tuple[int, int], float]:
    """Return the share of the cells that are worse, among those that are not as good."""
    if metric.better is None:
        return {}
    signed = {place: -mean if metric.better == "lower" else mean for place, mean in means.items() if mean == mean}
    values = sorted(signed.values())
    sides = {
        place: (bisect_left(values, value), len(values) - bisect_right(values, value))
        for place, value in signed.items()
    }
    return {place: worse / (worse + better) for place, (worse, better) in sides.items() if worse + better}
