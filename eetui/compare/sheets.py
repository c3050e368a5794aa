"""A comparison as tables of plain text, used by every format and the screen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.extensions.plugins import with_short_hashes
from eetui.compare.comparison import Comparison, Row
from eetui.drawing.figures import delta, figure
from eetui.drawing.harmless import one_line

BEST = "★"
BEST_MEANS = "best of the row; more than one where no difference between them is clear, none where no difference is"
NOTHING_CLEAR = "no difference is clear"
FINAL_TITLE = "Final: evaluation split, all tokens"
TRAINING_TITLE = "Training"
CONFIG_TITLE = "Config: what differs"
MOST_COLUMNS = 6
"""Number of columns of a comparison above which they become rows."""


@dataclass(frozen=True)
class Sheet:
    """A table of plain text.

    Attributes:
        best: (row, column) of the cells with a star.
        remark: what is said of the stars; empty where nothing can be ranked.
        turned: whether runs are rows, and metrics or config keys columns.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    remark: str = ""
    turned: bool = False


def sheets(comparison: Comparison) -> Iterator[Sheet]:
    """Yield the final table, the training table and the config differences, unless they are empty.

    Runs are rows where they are many.
    """
    heads = tuple(column.title for column in comparison.columns)
    for title, rows in titled_tables(comparison):
        if rows:
            yield fitting(sheet(title, heads, rows))
    if comparison.config:
        yield fitting(config_sheet(comparison))


def fitting(sheet: Sheet) -> Sheet:
    """Return the sheet with runs as rows if there are more than `MOST_COLUMNS` of them, else as it is."""
    if len(sheet.heads) - 1 <= MOST_COLUMNS:
        return sheet
    corner, *runs = sheet.heads
    columns = tuple(zip(*sheet.rows, strict=True))
    return replace(
        sheet,
        heads=(corner, *columns[0]),
        rows=tuple((run, *(cell.strip() for cell in cells)) for run, cells in zip(runs, columns[1:], strict=True)),
        best=frozenset((column - 1, row + 1) for row, column in sheet.best),
        remark=sheet.remark.replace("of the row", "of the column"),
        turned=True,
    )


def parts_of(sheet: Sheet, widths: Sequence[int], width: int) -> Iterator[Sheet]:
    """Yield sheets of as many columns each as fit a width beside the first one; stars are explained below the last.

    Args:
        widths: those of the columns.
    """
    first = 1
    while first < len(sheet.heads):
        end, room = first, width - widths[0]
        while end < len(sheet.heads) and (end == first or room >= widths[end]):
            room -= widths[end]
            end += 1
        yield replace(
            sheet,
            heads=(sheet.heads[0], *sheet.heads[first:end]),
            rows=tuple((row[0], *row[first:end]) for row in sheet.rows),
            best=frozenset((row, place - first + 1) for row, place in sheet.best if first <= place < end),
            remark=sheet.remark if end == len(sheet.heads) else "",
        )
        first = end


def titled_tables(comparison: Comparison) -> Iterator[tuple[str, tuple[Row, ...]]]:
    """Yield the tables of figures with their titles."""
    yield FINAL_TITLE, comparison.final
    yield TRAINING_TITLE, comparison.training
    yield from comparison.further


def sheet(title: str, heads: Sequence[str], rows: Sequence[Row]) -> Sheet:
    """Write rows as text, each value and its difference from the baseline in one cell."""
    deltas = [[delta(change, row.unit) for change in row.deltas] or [""] * len(heads) for row in rows]
    widths = [max((len(line[column]) for line in deltas), default=0) for column in range(len(heads))]
    cells = []
    for row, line in zip(rows, deltas, strict=True):
        values = [figure(value, row.unit) for value in row.values]
        cells.append((row.label, *map(_with_delta, values, line, widths)))
    best = frozenset((index, column + 1) for index, row in enumerate(rows) for column in row.best)
    return Sheet(title, ("", *heads), tuple(cells), best, _remark(rows))


def _remark(rows: Sequence[Row]) -> str:
    """Say what stars mean or, where values differ but nothing is clear, why there are none."""
    if any(row.best for row in rows):
        return f"{BEST} {BEST_MEANS}"
    return f"No {BEST}: {NOTHING_CLEAR}" if any(row.ranked for row in rows) else ""


def _with_delta(value: str, change: str, width: int) -> str:
    """Join a value and its delta, aligned with the other deltas of the column."""
    return f"{value} {change.rjust(width)}" if width else value


def config_sheet(comparison: Comparison) -> Sheet:
    """Write the config values of each column that the comparison holds."""
    heads = tuple(column.title for column in comparison.columns)
    rows = (tuple(map(one_line, (key, *map(with_short_hashes, values)))) for key, values in comparison.config)
    return Sheet(CONFIG_TITLE, ("", *heads), tuple(rows) or ((_no_difference(comparison), *("" for _ in heads)),))


def _no_difference(comparison: Comparison) -> str:
    """Say why no value differs."""
    alone = len(comparison.columns) == 1
    return "a single column: nothing to differ from" if alone else "nothing differs but seeds"
