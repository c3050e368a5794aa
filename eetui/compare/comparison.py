"""Runs side by side, as plain data: rows, values, the best value of each row, and advice.

Runs that differ only in their seed share a column and show mean ± standard deviation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.formulas import relative_change
from core.metrics import Metric, Unit, Value, final_rows, training_rows
from eetui.compare.advice import Advice, advice, differences, notes
from eetui.compare.columns import Column, leaders
from eetui.compare.run_view import RunView


@dataclass(frozen=True)
class Row:
    """One row of a table: a value for each column.

    Attributes:
        best: columns with the best value or one that is not clearly worse, if any other is (`leaders`).
        deltas: differences from the baseline, for columns comparable with it; relative for a PPL.
        seeds: how many seeds each value is of; empty: all of its column.
    """

    key: str
    label: str
    unit: Unit
    values: tuple[Value | None, ...]
    best: frozenset[int] = frozenset()
    deltas: tuple[float | None, ...] = ()
    ranked: bool = False
    """Whether there are values to rank: two or more that differ, of the same windows."""
    seeds: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the columns differ."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Comparison:
    """Everything that `eetui compare` shows, in every format."""

    columns: tuple[Column, ...]
    final: tuple[Row, ...]
    training: tuple[Row, ...]
    config: tuple[tuple[str, tuple[str, ...]], ...]
    differences: tuple[str, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...] = ()
    baseline: int | None = None
    """The column that deltas are relative to."""
    further: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    """Titled tables of charts' figures, for export."""


MOST_KEYS = 2
"""Config values that a title names at most."""


def compare(
    runs: Sequence[RunView],
    *,
    group_seeds: bool = True,
    only_changed: bool = False,
    whole_config: bool = False,
    baseline: str | None = None,
) -> Comparison:
    """Put runs side by side.

    Args:
        baseline: name of the run whose column the others are compared with.
    """
    columns = _columns(runs) if group_seeds else tuple(Column((run,)) for run in runs)
    base = next((i for i, column in enumerate(columns) if baseline in [run.name for run in column.runs]), None)
    found = {metric for column in columns for run in column.runs for metric in run.metrics}
    final, training = (_rows(columns, rows, base) for rows in (final_rows(found), training_rows(found)))
    if only_changed:
        final, training = (tuple(row for row in rows if row.changes) for rows in (final, training))
    return Comparison(
        columns=columns,
        final=final,
        training=training,
        config=_config_rows(columns, whole=whole_config),
        differences=differences(columns, None if base is None else columns[base]),
        advice=advice(columns),
        notes=(*_baseline_notes(columns, base), *notes(columns)),
        baseline=base,
    )


def _baseline_notes(columns: Sequence[Column], base: int | None) -> Iterator[str]:
    """Say what the baseline is where it is more than one run."""
    if base is not None and len(runs := columns[base].runs) > 1:
        names = ", ".join(run.name for run in runs)
        yield (
            f"the baseline {columns[base].title} is the mean of {names}, which differ in seed only; to hold others "
            "against one of them: --each-seed, or g in the console"
        )


def _columns(runs: Sequence[RunView]) -> tuple[Column, ...]:
    groups: dict[tuple[Any, ...], list[RunView]] = {}
    for run in runs:
        config = tuple(sorted((key, str(value)) for key, value in run.config.items() if key != "seed"))
        key: tuple[Any, ...] = (run.fingerprint, run.status, config)
        repeat = 0  # the same config and seed once more is no further seed
        while any(other.seed == run.seed for other in groups.get((*key, repeat), ())):
            repeat += 1
        groups.setdefault((*key, repeat), []).append(run)
    columns = [Column(tuple(group)) for group in groups.values()]
    titles = [column.exact_title for column in columns]
    return tuple(
        Column(column.runs, _told_apart(column, [one for one in columns if one.exact_title == column.exact_title]))
        if len(column.runs) > 1 and titles.count(column.exact_title) > 1
        else column
        for column in columns
    )


def _told_apart(column: Column, alike: Sequence[Column]) -> str:
    """Return a title that columns of one method do not share: its config where that is short, else a run's name."""
    configs = [one.runs[0].config for one in alike]
    every = dict.fromkeys(key for config in configs for key in config if key != "seed")
    keys = [key for key in every if len({str(config.get(key)) for config in configs}) > 1]
    if not 0 < len(keys) <= MOST_KEYS or any(key not in config for key in keys for config in configs):
        return f"{column.runs[0].name} ×{len(column.runs)}"
    values = ", ".join(f"{key.rpartition('.')[2]}={column.runs[0].config.get(key)}" for key in keys)
    return f"{column.exact_title}, {values}"


def _rows(columns: Sequence[Column], metrics: Sequence[Metric], base: int | None) -> tuple[Row, ...]:
    made = []
    for metric in metrics:
        values = tuple(column.value(metric) for column in columns)
        if any(values):
            best, ranked = _best(columns, values, metric)
            row = Row(metric.key, metric.label, metric.unit, values, best, ranked=ranked)
            made.append(row if base is None else replace(row, deltas=_deltas(metric, values, columns, base)))
    return tuple(made)


def _deltas(
    metric: Metric, values: Sequence[Value | None], columns: Sequence[Column], base: int
) -> tuple[float | None, ...]:
    """Return each value's difference from the baseline's, if both are of the same windows."""
    against = values[base]
    deltas: list[float | None] = []
    for index, (column, value) in enumerate(zip(columns, values, strict=True)):
        same_windows = column.windows_of(metric) == columns[base].windows_of(metric)
        if index == base or value is None or against is None or not same_windows:
            deltas.append(None)
        elif metric.unit == "ppl":
            deltas.append(relative_change(value.mean, against.mean))
        else:
            deltas.append(value.mean - against.mean)
    return tuple(deltas)


def _best(columns: Sequence[Column], values: Sequence[Value | None], metric: Metric) -> tuple[frozenset[int], bool]:
    """Return the columns that lead among those of the same windows, and whether there was anything to rank.

    None lead where no difference is clear.
    """
    if metric.better is None:
        return frozenset(), False
    best, ranked = set[int](), False
    for windows in dict.fromkeys(column.windows_of(metric) for column in columns):
        here = {i: v.mean for i, v in enumerate(values) if v is not None and columns[i].windows_of(metric) == windows}
        if len(set(here.values())) > 1:
            ranked = True
            leading = leaders([columns[index] for index in here], metric)
            if len(leading) < len(here):
                best |= {index for index in here if any(columns[index] is column for column in leading)}
    return frozenset(best), ranked


def _config_rows(columns: Sequence[Column], *, whole: bool) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the config values that differ, or all of them."""
    keys = dict.fromkeys(key for column in columns for key in column.runs[0].config if key != "seed")
    rows = []
    for key in keys:
        known = [column.runs[0].config[key] for column in columns if key in column.runs[0].config]
        if whole or len({shown(value) for value in known}) > 1:
            values = tuple(shown(column.runs[0].config.get(key, "–")) for column in columns)
            rows.append((key, values))
    return tuple(rows)


def shown(value: object) -> str:
    """Write a config value, a list with commas between its parts."""
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
