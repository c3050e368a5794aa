"""The rows of tables that `eetui compare --metrics` names, in its order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from core.config.messages import near_name, shortened
from core.errors import UsageError
from core.metrics import STORED, Metric
from eetui.compare.comparison import Comparison, Row
from eetui.compare.groups import Grouping

KEY_OF = {column.word: metric.key for column, metric in STORED}
"""Keys of metrics by the names that filters take for them."""


def metric_names(text: str) -> list[str]:
    """Return the keys, or patterns of keys, that `--metrics` names.

    Raises:
        UsageError: a name is empty.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(
            f"--metrics takes metrics with commas between them, such as ppl,savings, got {shortened(text)!r}"
        )
    return [KEY_OF.get(name, name) for name in names]


def unknown(names: Iterable[str], comparison: Comparison) -> list[str]:
    """Return the names that stand for no row of a comparison."""
    keys = _keys(comparison)
    return [name for name in names if not any(fnmatchcase(key, name) for key in keys)]


def with_rows(comparison: Comparison, names: Sequence[str]) -> Comparison:
    """Return the comparison with the rows that are named, in that order, and no others: no config either.

    Raises:
        UsageError: a name stands for no row.
    """
    places = _places(names, _keys(comparison))

    def kept(rows: Iterable[Row]) -> tuple[Row, ...]:
        return tuple(sorted((row for row in rows if row.key in places), key=lambda row: places[row.key]))

    further = tuple((title, some) for title, rows in comparison.further if (some := kept(rows)))
    final, training = kept(comparison.final), kept(comparison.training)
    return replace(comparison, final=final, training=training, config=(), further=further)


def with_figures(grouping: Grouping, names: Sequence[str]) -> Grouping:
    """Return the groups with the figures that are named, in that order.

    Raises:
        UsageError: a name stands for no figure.
    """
    places = _places(names, [metric.key for metric in grouping.metrics])

    def kept(metrics: Iterable[Metric]) -> list[Metric]:
        return sorted((metric for metric in metrics if metric.key in places), key=lambda metric: places[metric.key])

    groups = (
        replace(one, figures={metric: one.figures[metric] for metric in kept(one.figures)}) for one in grouping.groups
    )
    return replace(grouping, groups=tuple(groups), metrics=tuple(kept(grouping.metrics)))


def _keys(comparison: Comparison) -> list[str]:
    tables = (comparison.final, comparison.training, *(rows for _, rows in comparison.further))
    return [row.key for rows in tables for row in rows]


def _places(names: Sequence[str], keys: Sequence[str]) -> dict[str, int]:
    """Return the place of each key that is named."""
    places = dict[str, int]()
    for name in names:
        found = [key for key in keys if fnmatchcase(key, name)]
        if not found:
            near = near_name(name, (*keys, *KEY_OF))
            raise UsageError(f"--metrics: these runs have no {shortened(name)!r}{near}; --json names what they have")
        for key in found:
            places.setdefault(key, len(places))
    return places
