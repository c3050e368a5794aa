"""The list of runs for a terminal or a pipe, as lines or as JSON.

Plain strings: a Rich table of 10,000 runs takes eight seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from rich.cells import cell_len

from core.metrics import STORED
from core.store.liveness import GONE
from core.store.reader import RunRow
from eetui.drawing.figures import duration, figure
from eetui.drawing.formats import json_text
from eetui.drawing.status import STATUS_STYLES, STATUS_WORDS

LISTED = tuple((column, metric) for column, metric in STORED if column.head)
"""Metrics that lists show."""
SHOWN = ("id", "name", "method", "seed", "status", "error", *(column.name for column, _ in LISTED), "seconds", "tags")
"""Columns of a run's row that are read."""
NARROW = 145
"""Width in cells below which only the essential columns are shown."""
LEAST = 8
"""Least width in cells of names and tags."""
GAP = "  "
ANSI = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


@dataclass
class _TextColumn:
    """A column as text; `folds`: whether text too long for its width goes on in the next line."""

    head: str
    cells: list[str]
    right: bool = False
    folds: bool = False
    width: int = 0

    def __post_init__(self) -> None:
        self.size: Callable[[str], int] = cell_len if self.folds and not "".join(self.cells).isascii() else len
        self.width = max(len(self.head), max(map(self.size, self.cells)))

    def padded(self, text: str) -> str:
        space = " " * (self.width - self.size(text))
        return space + text if self.right else text + space

    def lines(self) -> list[str]:
        """Return the cells at the column's width; those that fold contain line breaks."""
        if self.right:
            return [cell.rjust(self.width) for cell in self.cells]
        if self.size is len and not self.folds:
            return [cell.ljust(self.width) for cell in self.cells]
        return [self.padded(cell) if self.size(cell) <= self.width else self._broken(cell) for cell in self.cells]

    def _broken(self, text: str) -> str:
        parts = [""]
        for character in text:
            if self.size(parts[-1] + character) > self.width:
                parts.append("")
            parts[-1] += character
        return "\n".join(parts)


def runs_lines(rows: Sequence[RunRow], width: int, *, colour: bool) -> Iterator[str]:
    """Yield the heads and one line per run, more where a name or tags fold, for a terminal `width` cells wide."""
    if not rows:
        yield "no runs"
        return
    columns = _columns(rows, wide=width >= NARROW)
    _fit(columns, width)
    yield _styled(GAP.join(column.padded(column.head) for column in columns).rstrip(), "bold", colour=colour)
    yield "─" * _width(columns)
    for row in zip(*(_coloured(column) if colour else column.lines() for column in columns), strict=True):
        line = GAP.join(row)
        if "\n" in line:
            yield from _folded(row, columns)
        else:
            yield line.rstrip()


def runs_json(rows: Sequence[RunRow]) -> str:
    """Write a list of objects, unrounded; tags as a list."""
    return json_text([{**row, "tags": (row["tags"] or "").split()} for row in rows])


def _columns(rows: Sequence[RunRow], *, wide: bool) -> list[_TextColumn]:
    columns = [_TextColumn("Run", [str(row["id"]) for row in rows], right=True)]
    columns.append(_TextColumn("Name", [row["name"] for row in rows], folds=True))
    if wide:
        columns.append(_TextColumn("Method", [row["method"] for row in rows]))
        columns.append(_TextColumn("Seed", [str(row["seed"]) for row in rows], right=True))
    columns.append(_TextColumn("Status", [_status(row, wide=wide) for row in rows]))
    for column, metric in LISTED:
        if wide or column.essential:
            figures = [figure(row[column.name], metric.unit) for row in rows]
            columns.append(_TextColumn(column.head, figures, right=True))
    columns.append(_TextColumn("Time", [duration(row["seconds"]) for row in rows], right=True))
    if "deleted" in rows[0]:
        columns.append(_TextColumn("Deleted", [f"{datetime.fromtimestamp(row['deleted']):%Y-%m-%d}" for row in rows]))
    if wide:
        columns.append(_TextColumn("Tags", [row["tags"] or "" for row in rows], folds=True))
    return columns


def _status(row: RunRow, *, wide: bool) -> str:
    """Write the status and, where it fits, why a run without an end counts as interrupted."""
    word = STATUS_WORDS[row["status"]]
    return f"{word} ({GONE})" if wide and row["error"] == GONE else word


def _width(columns: Sequence[_TextColumn]) -> int:
    """Return the cells of a line."""
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _fit(columns: Sequence[_TextColumn], width: int) -> None:
    """Shrink the columns that fold, widest first, until all fit."""
    folding = [column for column in columns if column.folds]
    excess = _width(columns) - width
    while excess > 0 and (widest := max(folding, key=lambda column: column.width)).width > LEAST:
        widest.width -= 1
        excess -= 1


def _coloured(column: _TextColumn) -> list[str]:
    lines = column.lines()
    if column.head != "Status":
        return lines
    styles = {STATUS_WORDS[status]: style for status, (_, style) in STATUS_STYLES.items()}
    return [
        _styled(line, styles[cell.removesuffix(f" ({GONE})")], colour=True)
        for line, cell in zip(lines, column.cells, strict=True)
    ]


def _folded(row: Sequence[str], columns: Sequence[_TextColumn]) -> Iterator[str]:
    for parts in zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
        padded = (part if "\x1b" in part else column.padded(part) for part, column in zip(parts, columns, strict=True))
        yield GAP.join(padded).rstrip()


def _styled(text: str, style: str, *, colour: bool) -> str:
    return f"\x1b[{ANSI[style]}m{text}\x1b[0m" if colour else text
