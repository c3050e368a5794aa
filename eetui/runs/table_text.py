"""The table of runs, line by line: which columns fit, their heads, and a run's row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from rich.text import Text

from core.metrics import ListColumn, Metric, Unit
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import duration, figure
from eetui.drawing.palette import Palette
from eetui.drawing.status import STATUS_STYLES
from eetui.runs.list_text import LISTED
from eetui.runs.standing import Standing

MARK, CURSOR = "●", "›"
ASCENDING, DESCENDING = "▲", "▼"


@dataclass(frozen=True)
class TableColumn:
    """A column of the table.

    Attributes:
        key: of the run's row, and what the list is sorted by if `sorts`.
        heads: two lines; the second has room for the sort arrow.
        falls: whether sorting starts with the largest.
        gap: cells after it.
    """

    key: str
    heads: tuple[str, str]
    width: int
    unit: Unit | None = None
    align: Literal["left", "right"] = "right"
    sorts: bool = True
    falls: bool = False
    gap: int = 1


MARKS = TableColumn("mark", ("", ""), 2, align="left", sorts=False, gap=0)
NUMBER = TableColumn("id", ("Run", ""), 5, falls=True)
NAME = TableColumn("name", ("Name", ""), 12, align="left")
METHOD = TableColumn("method", ("Method", ""), 8, align="left")
SEED = TableColumn("seed", ("Seed", ""), 6, gap=2)
STATUS = TableColumn("status", ("Status", ""), 13, align="left")
TIME = TableColumn("seconds", ("Time", ""), 7, falls=True, gap=2)
TAGS = TableColumn("tags", ("Tags", ""), 12, align="left", sorts=False)


def _of_metric(column: ListColumn, metric: Metric) -> TableColumn:
    """Its head has room for the sort arrow."""
    upper, lower = column.heads
    width = max(len(upper), len(lower) + len(ASCENDING))
    return TableColumn(column.name, column.heads, width, metric.unit, falls=metric.better != "lower")


FIGURES = {column: _of_metric(column, metric) for column, metric in LISTED}
ORDER = (MARKS, NUMBER, NAME, METHOD, SEED, STATUS, *FIGURES.values(), TIME, TAGS)
ALWAYS = (MARKS, NUMBER, NAME, STATUS)
WHERE_THEY_FIT = (
    *(shown for column, shown in FIGURES.items() if column.essential), TIME, METHOD,
    *(shown for column, shown in FIGURES.items() if not column.essential), SEED, TAGS,
)  # fmt: skip
"""In this order; the first that does not fit ends it."""
NAME_WIDTH, NAME_WIDTH_MOST = 20, 36
STATUS_WIDTH_MOST = 22


@cache
def columns_for(width: int) -> tuple[TableColumn, ...]:
    """The columns for a table that wide, left to right; name, status and tags take what is left over."""
    chosen: tuple[TableColumn, ...] = ALWAYS
    for column in WHERE_THEY_FIT:
        smallest_name = NAME.width if column == WHERE_THEY_FIT[0] else NAME_WIDTH
        if _width((*chosen, column)) - NAME.width + smallest_name > width:
            break
        chosen = (*chosen, column)
    widths = {column.key: column.width for column in chosen}
    spare = width - _width(chosen)
    for key, most in (("name", NAME_WIDTH_MOST), ("status", STATUS_WIDTH_MOST), ("tags", width)):
        if key in widths and (key == "name" or len(chosen) == len(ORDER)):
            more = max(min(spare, most - widths[key]), min(spare, 0))
            widths[key], spare = widths[key] + more, spare - more
    return tuple(replace(column, width=widths[column.key]) for column in ORDER if column.key in widths)


def _width(columns: Sequence[TableColumn]) -> int:
    """Of all columns with the gaps between them."""
    last = max(columns, key=lambda column: ORDER.index(column))
    return sum(column.width + column.gap for column in columns) - last.gap


def column_at(columns: Sequence[TableColumn], x: int) -> TableColumn | None:
    """The column whose head is at that cell."""
    start = 0
    for column in columns:
        end = start + column.width + column.gap
        if start <= x < end:
            return column
        start = end
    return None


def next_order(columns: Sequence[TableColumn], order_by: str) -> tuple[str, bool]:
    """The column after the one sorted by, among those in view, and whether it starts with the largest."""
    able = [column for column in columns if column.sorts]
    place = next((index for index, column in enumerate(able) if column.key == order_by), -1)
    following = able[(place + 1) % len(able)]
    return following.key, following.falls


def head_lines(columns: Sequence[TableColumn], order_by: str, descending: bool, style: Palette) -> tuple[Text, Text]:
    """Both lines of the heads, the sorted column's with an arrow."""
    first, second = Text(no_wrap=True), Text(no_wrap=True)
    for column in columns:
        sorted_by = column.sorts and column.key == order_by
        arrow = (DESCENDING if descending else ASCENDING) if sorted_by else ""
        upper, lower = column.heads
        look = f"bold {style.accent}" if sorted_by else "bold"
        for line, text in ((first, upper), (second, lower + arrow)):
            line.append(fitted(text, column.width, column.align), look)
            line.append(" " * column.gap)
    return first, second


def row_line(
    columns: Sequence[TableColumn],
    row: Mapping[str, Any],
    standing: Standing,
    style: Palette,
    *,
    marked: bool = False,
    under_cursor: bool = False,
) -> Text:
    """A run's line, every column at its place."""
    line = Text(no_wrap=True)
    for column in columns:
        if column.key == MARKS.key:
            line.append(CURSOR if under_cursor else " ")
            line.append(MARK if marked else " ", style.accent)
        elif column.key == STATUS.key:
            line.append_text(status_cell(str(row["status"]), standing, column.width, style))
        else:
            line.append(fitted(_cell(column, row, standing), column.width, column.align), _look(column, style))
        line.append(" " * column.gap)
    return line


def status_cell(status: str, standing: Standing, width: int, style: Palette) -> Text:
    """Sign and word; of a running one the bar, and the word where there is room for both."""
    sign, _ = STATUS_STYLES[status]
    look = style.of_status(status)
    if standing.stopping:
        return Text(fitted(f"{sign} stopping", width), style.caution)
    if status == "queued" and standing.place is not None:
        return Text(fitted(f"{sign} queued #{standing.place}", width), look)
    if status != "running" or standing.progress is None:
        return Text(fitted(f"{sign} {status}", width), look)
    percent = f"{min(standing.progress, 0.99):4.0%}"
    if standing.held:
        return Text(fitted(f"‖ paused{percent}", width), style.caution)
    word = f"{sign} running " if width >= STATUS.width + 8 else f"{sign} "
    room = width - len(word) - len(percent)
    return Text.assemble((word, look), bar(standing.progress, room, look, style.quiet), (percent, look))


def _cell(column: TableColumn, row: Mapping[str, Any], standing: Standing) -> str:
    value = row[column.key]
    if column.key == TIME.key:
        return duration(value if standing.elapsed is None else standing.elapsed)
    return figure(value, column.unit) if column.unit else str("" if value is None else value)


def _look(column: TableColumn, style: Palette) -> str:
    return style.quiet if column.key in (NUMBER.key, TAGS.key) else ""
