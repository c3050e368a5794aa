"""Charts of a comparison as plain data: curves over the epochs, and PPL against layer savings."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from core.events import FIXED_DEPTHS, Way, way_name
from core.formulas import perplexity, share_of_layers_saved
from core.metrics import BITS_PER_BYTE, FINAL_PPL, LAYER_SAVINGS, Value, final_rows, value_of, way_bits
from eetui.compare.advice import main_fingerprint
from eetui.compare.columns import Column
from eetui.compare.comparison import Comparison, Row
from eetui.compare.run_view import TOGETHER, curve_name

View = Literal["final", "training", "config", "curves", "savings", "advice"]
VIEWS: tuple[View, ...] = ("final", "training", "config", "curves", "savings", "advice")


@dataclass(frozen=True)
class Point:
    """A way through a column's models: the layers it saves, and its PPL and bits per byte on the evaluation split.

    Attributes:
        column: index of the column.
        block: block at which all tokens exit; None for ways that are not about one block.
    """

    column: int
    way: Way
    block: int | None
    savings: Value
    ppl: Value
    bits: Value | None = None

    @property
    def name(self) -> str:
        return way_name(self.way, self.block)


def blocks_with_curves(comparison: Comparison) -> tuple[int, ...]:
    """Return the blocks of which some run has trained an epoch."""
    runs = [run for column in comparison.columns for run in column.runs]
    return tuple(sorted({block for run in runs for block, losses in run.curves.items() if losses}))


def curve_rows(columns: Sequence[Column], block: int) -> tuple[Row, ...]:
    """Return one row per epoch: loss in nats on the early-stopping split."""
    curves, name = [column.curve(block) for column in columns], curve_name(block).capitalize()
    key = "together" if block == TOGETHER else f"block{block}"
    return tuple(
        Row(f"{key}.epoch{epoch}", f"{name}, epoch {epoch}", "nats", tuple(curve.get(epoch) for curve in curves))
        for epoch in sorted({epoch for curve in curves for epoch in curve})
    )


def points(comparison: Comparison) -> tuple[Point, ...]:
    """Return the points of all columns evaluated on the tokens that most columns share."""
    main = main_fingerprint(comparison.columns)
    return tuple(
        point
        for number, column in enumerate(comparison.columns)
        if column.fingerprint == main
        for point in column_points(number, column)
    )


def column_points(number: int, column: Column) -> Iterator[Point]:
    """Yield early exit, then each static depth."""
    savings, ppl = column.value(LAYER_SAVINGS), column.value(FINAL_PPL)
    if savings and ppl:
        yield Point(number, "early exit", None, savings, ppl, column.value(BITS_PER_BYTE))
    layers = column.runs[0].block_layers
    for metric in final_rows({metric for run in column.runs for metric in run.metrics}):
        ppl = column.value(metric)
        if metric.way in FIXED_DEPTHS and metric.unit == "ppl" and ppl is not None:
            depth = len(layers) - 1 if metric.block is None else metric.block
            shares = [float(block == depth) for block in range(len(layers))]
            saved = value_of([share_of_layers_saved(shares, layers)])
            yield Point(number, metric.way, metric.block, saved, ppl, column.value(way_bits(metric.way, metric.block)))


def savings_rows(comparison: Comparison) -> tuple[Row, ...]:
    """Return the scatter as a table: layer savings, PPL and bits per byte of every way through the model."""
    found = [
        {point.name: point for point in column_points(number, column)}
        for number, column in enumerate(comparison.columns)
    ]
    rows = []
    for name in dict.fromkeys(name for column in found for name in column):
        here = [column.get(name) for column in found]
        savings = tuple(None if point is None else point.savings for point in here)
        ppls = tuple(None if point is None else point.ppl for point in here)
        rows.append(Row(f"{name}.savings", f"{name}, layer savings", "share", savings))
        rows.append(Row(f"{name}.ppl", f"{name}, PPL", "ppl", ppls))
        if any(bits := tuple(None if point is None else point.bits for point in here)):
            rows.append(Row(f"{name}.bits_per_byte", f"{name}, bits per byte", "bits", bits))
    return tuple(rows)


def seen(
    comparison: Comparison, view: View, block: int, *, as_ppl: bool = False, areas: tuple[Row, ...] = ()
) -> Comparison:
    """Return the part of a comparison that a view shows, for export; advice is in words, so it keeps all tables.

    Args:
        areas: rows of the savings view's areas.
    """
    if view == "advice":
        return comparison
    further: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    if view == "curves":
        rows = curve_rows(comparison.columns, block)
        further = (("curves", tuple(map(_in_ppl, rows)) if as_ppl else rows),)
    elif view == "savings":
        further = (("savings", (*savings_rows(comparison), *areas)),)
    return replace(
        comparison,
        final=comparison.final if view == "final" else (),
        training=comparison.training if view == "training" else (),
        config=comparison.config if view == "config" else (),
        further=further,
    )


def _in_ppl(row: Row) -> Row:
    """Convert means from nats to PPL, without deviations: those of nats are not those of PPLs."""
    values = tuple(None if value is None else Value(perplexity(value.mean)) for value in row.values)
    return replace(row, unit="ppl", values=values)


def nats(ppl: float) -> float:
    """Return the loss in nats of a PPL."""
    return math.log(ppl)
