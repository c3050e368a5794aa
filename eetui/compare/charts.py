"""What a comparison draws, as plain data: curves over the epochs, and PPL against layer savings."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from core.formulas import perplexity, share_of_layers_saved
from eetui.compare.advice import main_fingerprint
from eetui.compare.columns import Column, value_of
from eetui.compare.comparison import Comparison, Row, Value

View = Literal["final", "training", "config", "curves", "savings", "advice"]
VIEWS: tuple[View, ...] = ("final", "training", "config", "curves", "savings", "advice")
EARLY_EXIT = "early exit"


@dataclass(frozen=True)
class Point:
    """A way through a column's models: what it saves, and its PPL on the evaluation split."""

    column: int
    name: str
    savings: float
    ppl: float


def blocks_with_curves(comparison: Comparison) -> tuple[int, ...]:
    """The blocks of which some run has trained an epoch."""
    runs = [run for column in comparison.columns for run in column.runs]
    return tuple(sorted({block for run in runs for block, losses in run.curves.items() if losses}))


def curve_rows(columns: Sequence[Column], block: int) -> tuple[Row, ...]:
    """A row for each epoch: loss in nats on the early-stopping split."""
    curves = [column.curve(block) for column in columns]
    return tuple(
        Row(f"block{block}.epoch{epoch}", f"Block {block}, epoch {epoch}", "nats", None, values)
        for epoch, values in enumerate(zip_longest(*curves), start=1)
    )


def points(comparison: Comparison) -> tuple[Point, ...]:
    """Early exit and the static depths of every column of the tokens that most columns share."""
    main = main_fingerprint(comparison.columns)
    return tuple(
        Point(index, name, savings.mean, ppl.mean)
        for index, column in enumerate(comparison.columns)
        if column.fingerprint == main
        for name, savings, ppl in ways(column)
    )


def ways(column: Column) -> Iterator[tuple[str, Value, Value]]:
    """Early exit, then each static depth: its name, layer savings and PPL."""
    savings, ppl = column.value("layer_savings"), column.value("final_ppl")
    if savings and ppl:
        yield EARLY_EXIT, savings, ppl
    layers = column.runs[0].block_layers
    for key in dict.fromkeys(key for run in column.runs for key in run.metrics if key.startswith("eval.")):
        name, ppl = key.removeprefix("eval."), column.value(key)
        depth = _depth(name, len(layers))
        if depth is not None and ppl is not None:
            shares = [float(block == depth) for block in range(len(layers))]
            yield name, value_of([share_of_layers_saved(shares, layers)]), ppl


def _depth(name: str, blocks: int) -> int | None:
    """The block that everything leaves at, of `all blocks`, `block 0 alone`, `block 0 as trained`; else None."""
    if name == "all blocks":
        return blocks - 1
    words = name.split()
    return int(words[1]) if words[0] == "block" and words[1].isdecimal() else None


def savings_rows(comparison: Comparison) -> tuple[Row, ...]:
    """The scatter as a table: of every way through, what it saves and its PPL."""
    found = [{name: (savings, ppl) for name, savings, ppl in ways(column)} for column in comparison.columns]
    rows = []
    for name in dict.fromkeys(name for ways_of_column in found for name in ways_of_column):
        pairs = [ways_of_column.get(name, (None, None)) for ways_of_column in found]
        rows.append(Row(f"{name}.savings", f"{name}, layer savings", "share", None, tuple(pair[0] for pair in pairs)))
        rows.append(Row(f"{name}.ppl", f"{name}, PPL", "ppl", None, tuple(pair[1] for pair in pairs)))
    return tuple(rows)


def seen(
    comparison: Comparison, view: View, block: int, *, as_ppl: bool = False, areas: tuple[Row, ...] = ()
) -> Comparison:
    """What a view shows, to be exported; the recommendation is all in words, so it takes all tables along.

    Args:
        areas: of the savings view's curves.
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
    """The PPL of the mean loss; a deviation of nats is none of PPLs."""
    values = tuple(None if value is None else Value(perplexity(value.mean)) for value in row.values)
    return replace(row, unit="ppl", values=values)


def nats(ppl: float) -> float:
    """The loss of a PPL."""
    return math.log(ppl)
