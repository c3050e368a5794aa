"""A list of runs as Markdown, CSV or JSON, for a file."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eetui.drawing.figures import duration, figure
from eetui.runs.list_text import COLUMNS, runs_json

CSV_KEYS = (
    "id", "experiment", "name", "method", "seed", "preset", "status", "block0_val_ppl", "final_ppl", "accuracy",
    "shallow_ratio", "layer_savings", "seconds", "created", "error", "tags",
)  # fmt: skip

Rows = Sequence[Mapping[str, Any]]


def runs_markdown(rows: Rows) -> str:
    """A pipe table as the screen shows it, with every column."""
    heads = ["Run", "Name", "Method", "Seed", "Status", *(head for _, head, _ in COLUMNS), "Time", "Tags"]
    rule = ["---:", "---", "---", "---:", "---", *("---:" for _ in COLUMNS), "---:", "---"]
    return "\n".join([_pipes(heads), _pipes(rule), *(_pipes(_cells(row)) for row in rows)]) + "\n"


def runs_csv(rows: Rows) -> str:
    """One line a run, figures unrounded; what is missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_KEYS)
    writer.writerows([row[key] for key in CSV_KEYS] for row in rows)
    return out.getvalue()


FORMATS: dict[str, Callable[[Rows], str]] = {"md": runs_markdown, "csv": runs_csv, "json": runs_json}


def _cells(row: Mapping[str, Any]) -> list[str]:
    figures = [figure(row[key], unit) for key, _, unit in COLUMNS]
    first = [str(row[key]) for key in ("id", "name", "method", "seed", "status")]
    return [*first, *figures, duration(row["seconds"]), row["tags"] or ""]


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
