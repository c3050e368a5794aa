"""Lists of runs as Markdown, CSV or JSON files."""

from collections.abc import Callable, Sequence

from core.metrics import STORED
from core.store.reader import RunRow
from eetui.drawing.figures import duration, figure
from eetui.drawing.formats import csv_text, pipe_table
from eetui.runs.list_text import LISTED, runs_json

CSV_KEYS = (
    "id", "experiment", "name", "method", "seed", "preset", "status", *(column.name for column, _ in STORED),
    "seconds", "created", "error", "tags",
)  # fmt: skip


def runs_markdown(rows: Sequence[RunRow]) -> str:
    """Write a pipe table like the screen's, with every column."""
    heads = ["Run", "Name", "Method", "Seed", "Status", *(column.head for column, _ in LISTED), "Time", "Tags"]
    rule = ["---:", "---", "---", "---:", "---", *("---:" for _ in LISTED), "---:", "---"]
    return pipe_table(heads, map(_cells, rows), rule) + "\n"


def runs_csv(rows: Sequence[RunRow]) -> str:
    """Write one line per run, figures unrounded; missing values are empty."""
    return csv_text([CSV_KEYS, *([row[key] for key in CSV_KEYS] for row in rows)])


FORMATS: dict[str, Callable[[Sequence[RunRow]], str]] = {"md": runs_markdown, "csv": runs_csv, "json": runs_json}


def _cells(row: RunRow) -> list[str]:
    figures = [figure(row[column.name], metric.unit) for column, metric in LISTED]
    first = [str(row[key]) for key in ("id", "name", "method", "seed", "status")]
    return [*first, *figures, duration(row["seconds"]), row["tags"] or ""]
