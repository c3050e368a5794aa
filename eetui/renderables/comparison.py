"""A comparison as Rich tables, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eetui.comparison import Comparison, Row
from eetui.renderables.figures import figure

BEST = "★"
FINAL_TITLE = "Final: evaluation split, all tokens"
TRAINING_TITLE = "Training"
CONFIG_TITLE = "Config: what differs"


@dataclass(frozen=True)
class Sheet:
    """A table of plain text; `best` holds the (row, column) cells that have a best value."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()


def sheets(comparison: Comparison) -> Iterator[Sheet]:
    """The final table, the training table and the config differences, those with rows."""
    heads = tuple(column.title for column in comparison.columns)
    for title, rows in ((FINAL_TITLE, comparison.final), (TRAINING_TITLE, comparison.training)):
        if rows:
            yield _sheet(title, heads, rows)
    if comparison.config:
        yield Sheet(CONFIG_TITLE, ("", *heads), tuple((key, *values) for key, values in comparison.config))


def _sheet(title: str, heads: Sequence[str], rows: Sequence[Row]) -> Sheet:
    cells = tuple((row.label, *(figure(value, row.unit) for value in row.values)) for row in rows)
    best = frozenset((index, column + 1) for index, row in enumerate(rows) for column in row.best)
    return Sheet(title, ("", *heads), cells, best)


def as_tables(comparison: Comparison) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [Text(_seeds(comparison), style="dim")]
    for sheet in sheets(comparison):
        table = Table(title=Text(sheet.title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for position, head in enumerate(sheet.heads):
            # Text, never markup: a run's name is the user's, and may look like a tag
            table.add_column(Text(head), justify="right" if position else "left", overflow="fold")
        for row_index, row in enumerate(sheet.rows):
            cells = [_cell(text, (row_index, position) in sheet.best, position) for position, text in enumerate(row)]
            table.add_row(*cells)
        parts.append(table)
    parts += [Text(f"{BEST} best of the row", style="dim")]
    parts += [Text(line) for line in closing_lines(comparison)]
    return Group(*parts)


def closing_lines(comparison: Comparison) -> Iterator[str]:
    """Differences, recommendation and notes, one a line."""
    if comparison.differences:
        yield "\nLoss against the best, mean [95% paired bootstrap over windows]:"
        yield from (f"  {line}" for line in comparison.differences)
    if comparison.advice:
        yield "\nRecommended:"
        yield from (f"  for {advice.purpose}: {advice.choice} – {advice.reason}" for advice in comparison.advice)
    if comparison.notes:
        yield "\nNote:"
        yield from (f"  ! {note}" for note in comparison.notes)


def as_markdown(comparison: Comparison) -> str:
    """Pipe tables with right-aligned figures; the best is bold and starred."""
    lines = [_seeds(comparison), ""]
    for sheet in sheets(comparison):
        lines += [f"**{sheet.title}**", "", _pipes(sheet.heads), "| --- |" + " ---: |" * (len(sheet.heads) - 1)]
        for index, row in enumerate(sheet.rows):
            lines.append(_pipes([f"**{c}** {BEST}" if (index, p) in sheet.best else c for p, c in enumerate(row)]))
        lines.append("")
    lines += [line.lstrip("\n") if line.endswith(":") else f"- {line.strip()}" for line in closing_lines(comparison)]
    return "\n".join(lines)


def as_csv(comparison: Comparison) -> str:
    """One line a figure, unrounded: table, row, column, mean, deviation, seeds, best."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "metric", "run", "mean", "deviation", "seeds", "best"])
    for table, rows in (("final", comparison.final), ("training", comparison.training)):
        for row in rows:
            for index, (column, value) in enumerate(zip(comparison.columns, row.values, strict=True)):
                if value is not None:
                    deviation = "" if value.deviation is None else value.deviation
                    best = int(index in row.best)
                    writer.writerow([table, row.key, column.title, value.mean, deviation, len(column.runs), best])
    for key, values in comparison.config:
        for column, text in zip(comparison.columns, values, strict=True):
            writer.writerow(["config", key, column.title, text, "", len(column.runs), ""])
    return out.getvalue().rstrip("\n")


def as_json(comparison: Comparison) -> str:
    """Everything, unrounded."""
    data: dict[str, Any] = {
        "runs": [
            {
                "title": column.title,
                "names": [run.name for run in column.runs],
                "seeds": [run.seed for run in column.runs],
            }
            for column in comparison.columns
        ],
        "final": [_json_row(row) for row in comparison.final],
        "training": [_json_row(row) for row in comparison.training],
        "config": {key: list(values) for key, values in comparison.config},
        "differences": list(comparison.differences),
        "recommended": {a.purpose: {"run": a.choice, "reason": a.reason} for a in comparison.advice},
        "notes": list(comparison.notes),
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "metric": row.key,
        "label": row.label,
        "unit": row.unit,
        "values": [
            None if value is None else {"mean": value.mean, "deviation": value.deviation} for value in row.values
        ],
        "best": sorted(row.best),
    }


def _seeds(comparison: Comparison) -> str:
    return " · ".join(f"{column.title} ({column.subtitle})" for column in comparison.columns)


def _cell(text: str, best: bool, position: int) -> Text:
    if best:
        return Text(f"{text} {BEST}", style="bold green")
    return Text(f"{text}  " if position else text)  # two cells wide like the star, so that figures line up


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
