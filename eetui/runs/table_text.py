"""The table of runs, line by line: which columns fit, their heads, and a run's row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from rich.text import Text

from eetui.compare.comparison import Unit
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import duration, figure
from eetui.drawing.palette import Palette
from eetui.drawing.status import STATUS_STYLES
from eetui.runs.standing import Standing

MARK, CURSOR = "●", "›"
ASCENDING, DESCENDING = "▲", "▼"


@dataclass(frozen=True)
class Column:
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


MARKS = Column("mark", ("", ""), 2, align="left", sorts=False, gap=0)
NUMBER = Column("id", ("Run", ""), 5, falls=True)
NAME = Column("name", ("Name", ""), 12, align="left")
METHOD = Column("method", ("Method", ""), 8, align="left")
SEED = Column("seed", ("Seed", ""), 6, gap=2)
STATUS = Column("status", ("Status", ""), 13, align="left")
BLOCK0 = Column("block0_val_ppl", ("Block 0 PPL", "early-stop"), 11, "ppl")
FINAL = Column("final_ppl", ("Final PPL", "eval"), 9, "ppl")
ACCURACY = Column("accuracy", ("Accuracy", "eval"), 8, "share", falls=True)
SHALLOW = Column("shallow_ratio", ("Shallow", "ratio"), 7, "share", falls=True)
SAVINGS = Column("layer_savings", ("Layer", "savings"), 8, "share", falls=True)
TIME = Column("seconds", ("Time", ""), 7, falls=True, gap=2)
TAGS = Column("tags", ("Tags", ""), 12, align="left", sorts=False)

ORDER = (MARKS, NUMBER, NAME, METHOD, SEED, STATUS, BLOCK0, FINAL, ACCURACY, SHALLOW, SAVINGS, TIME, TAGS)
ALWAYS = (MARKS, NUMBER, NAME, STATUS)
WHERE_THEY_FIT = (FINAL, ACCURACY, SAVINGS, TIME, METHOD, BLOCK0, SHALLOW, SEED, TAGS)
"""In this order; the first that does not fit ends it."""
NAME_WIDTH, NAME_WIDTH_MOST = 20, 36
STATUS_WIDTH_MOST = 22


@cache
def columns_for(width: int) -> tuple[Column, ...]:
    """The columns for a table that wide, left to right; name, status and tags take what is left over."""
    chosen: tuple[Column, ...] = ALWAYS
    for column in WHERE_THEY_FIT:
        smallest_name = NAME.width if column is FINAL else NAME_WIDTH
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


def _width(columns: Sequence[Column]) -> int:
    """Of all columns with the gaps between them."""
    last = max(columns, key=lambda column: ORDER.index(column))
    return sum(column.width + column.gap for column in columns) - last.gap


def column_at(columns: Sequence[Column], x: int) -> Column | None:
    """The column whose head is at that cell."""
    start = 0
    for column in columns:
        end = start + column.width + column.gap
        if start <= x < end:
            return column
        start = end
    return None


def next_order(columns: Sequence[Column], order_by: str) -> tuple[str, bool]:
    """The column after the one sorted by, among those in view, and whether it starts with the largest."""
    able = [column for column in columns if column.sorts]
    place = next((index for index, column in enumerate(able) if column.key == order_by), -1)
    following = able[(place + 1) % len(able)]
    return following.key, following.falls


def head_lines(columns: Sequence[Column], order_by: str, descending: bool, style: Palette) -> tuple[Text, Text]:
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
    columns: Sequence[Column],
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


def _cell(column: Column, row: Mapping[str, Any], standing: Standing) -> str:
    value = row[column.key]
    if column.key == TIME.key:
        return duration(value if standing.elapsed is None else standing.elapsed)
    return figure(value, column.unit) if column.unit else str("" if value is None else value)


def _look(column: Column, style: Palette) -> str:
    return style.quiet if column.key in (NUMBER.key, TAGS.key) else ""
