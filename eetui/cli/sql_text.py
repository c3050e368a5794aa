"""The rows of an SQL statement as a table, Markdown, CSV or JSON, the latter two as they come."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from core.store.sql import Answer
from core.valid_json import finite, json_of
from eetui.drawing.formats import csv_text, pipe_table
from eetui.drawing.harmless import one_line

LONGEST_CELL = 400
"""Characters of a text that a table shows."""
AT_ONCE = 500
"""Rows of CSV that are written at once."""
MISSING = "–"


def as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Write rows for a terminal: figures to six digits and aligned right, texts on one line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        figures = all(isinstance(row[place], int | float | None) for row in rows)
        table.add_column(Text(one_line(name)), justify="right" if figures and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(_shown(value), LONGEST_CELL)) for value in row))
    return table


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write rows as a pipe table, figures to six digits."""
    return pipe_table(columns, (map(_shown, row) for row in rows))


def csv_parts(answer: Answer) -> Iterator[str]:
    """Yield the rows as parts of a CSV file, unrounded; a blob is written in hexadecimal digits."""
    yield csv_text([answer.columns])
    rows = ([_plain(value) for value in row] for row in answer.rows)
    while some := list(itertools.islice(rows, AT_ONCE)):
        yield csv_text(some)


def json_parts(answer: Answer) -> Iterator[str]:
    """Yield the rows as parts of a list of JSON objects, a line each; a blob is written in hexadecimal digits."""
    begin = "[\n"
    for row in answer.rows:
        yield begin + "  " + json_of(finite(dict(zip(answer.columns, map(_plain, row), strict=True))))
        begin = ",\n"
    yield "[]\n" if begin == "[\n" else "\n]\n"


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def first_rows(rows: Iterable[Sequence[Any]], limit: int) -> tuple[list[Sequence[Any]], bool]:
    """Return the first rows, and whether there are more."""
    found = list(itertools.islice(rows, limit + 1))
    return found[:limit], len(found) > limit
