"""JSON, CSV and Markdown as every command and screen writes them, harmless to the programs that read them."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from eetui.drawing.harmless import harmless

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""
MARKED = re.compile(r"([\\`*_\[\]<>|#~$&])")
"""Characters with a meaning in Markdown."""
TEXT_CELL = "'"
"""What tells a spreadsheet that a cell is text."""


def json_text(data: object) -> str:
    """Write data as JSON, unrounded: ASCII, so that terminals get nothing raw; null for what is not finite."""
    return json.dumps(_finite(data), indent=2, allow_nan=False)


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


def pipes(cells: Iterable[str]) -> str:
    """Write a row of a Markdown table from texts that `markdown` has escaped."""
    return "| " + " | ".join(cells) + " |"


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


def _finite(data: object) -> object:
    """Return the data with None for every float that JSON can't hold."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
