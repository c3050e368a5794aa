"""JSON, CSV and Markdown as every command and screen writes them, harmless to the programs that read them."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, count

from core.errors import UsageError
from core.valid_json import json_of
from eetui.drawing.harmless import harmless

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""
MARKED = re.compile(r"([\\`*_\[\]<>|#~$&])")
"""Characters with a meaning in Markdown."""
UNSAFE = re.compile(r"[^\w.+-]+")
"""Characters that file names do without."""
LONGEST_NAME = 100
"""Characters of a file name."""
TEXT_CELL = "'"
"""What tells a spreadsheet that a cell is text."""


def json_text(data: object) -> str:
    """Write data as JSON, unrounded: ASCII, so that terminals get nothing raw; words for what is not finite."""
    return json_of(data, indent=2)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Write rows as CSV; a text that a spreadsheet would take for a formula begins with `'`, figures stay figures."""
    out = io.StringIO()
    usual = csv.writer(out, lineterminator="\n")
    quoting = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_cell(value) for value in row]
        writer = quoting if any(isinstance(cell, str) and "\r" in cell for cell in cells) else usual
        writer.writerow(cells)
    return out.getvalue()


def require_format(chosen: str, formats: Collection[str]) -> None:
    """Refuse a format that there is not.

    Raises:
        UsageError: it is none of these.
    """
    if chosen not in formats:
        raise UsageError(f"--format must be one of {', '.join(formats)}, got {chosen!r}")


def file_stem(text: str) -> str:
    """Return a text as a part of a file name: letters, digits, `_.+-`, of a bounded length."""
    return UNSAFE.sub("-", text[-LONGEST_NAME:])


def free_stem(stem: str, taken: Collection[str], endings: Sequence[str] = ("",)) -> str:
    """Return a stem of file names, numbered from 2 on until none of its names is taken, in whatever letter case.

    Args:
        taken: names that are there, links that lead nowhere among them, or that others have been given.
        endings: what each name has behind the stem.
    """
    folded = {name.casefold() for name in taken}
    numbered = chain((stem,), (f"{stem}-{number}" for number in count(2)))
    return next(one for one in numbered if not any(f"{one}{ending}".casefold() in folded for ending in endings))


def pipes(cells: Iterable[str]) -> str:
    """Write a row of a Markdown table from texts that `markdown` has escaped."""
    return "| " + " | ".join(cells) + " |"


def pipe_table(heads: Sequence[str], rows: Iterable[Iterable[str]], rule: Sequence[str] = ()) -> str:
    """Write a Markdown table from plain texts.

    Args:
        rule: how each column is aligned, such as `---:`; empty: all to the left.
    """
    lines = [map(markdown, heads), rule or ["---"] * len(heads), *(map(markdown, row) for row in rows)]
    return "\n".join(map(pipes, lines))


def markdown(text: str) -> str:
    """Escape a text for Markdown, on one line."""
    return MARKED.sub(r"\\\1", harmless(" ".join(text.splitlines()), keep=""))


def _cell(value: object) -> object:
    """Return a cell's value, a text marked as one where it looks like a formula and is no number."""
    if not isinstance(value, str) or not value.lstrip(" ").startswith(FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return TEXT_CELL + value
    return value if value.isprintable() else TEXT_CELL + value
