"""A comparison as Rich tables, Markdown, CSV or JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eetui.compare.comparison import Comparison, Row
from eetui.compare.sheets import BEST, sheets
from eetui.drawing.formats import json_text


def as_tables(comparison: Comparison) -> RenderableType:
    """Draw the comparison for a terminal."""
    parts: list[RenderableType] = [Text(_seeds(comparison), style="dim")]
    for sheet in sheets(comparison):
        table = Table(title=Text(sheet.title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for position, head in enumerate(sheet.heads):
            # Text, not markup: a run's name is the user's, and may look like a tag
            table.add_column(Text(head), justify="right" if position else "left", overflow="fold")
        for row_index, row in enumerate(sheet.rows):
            cells = [_cell(text, (row_index, position) in sheet.best, position) for position, text in enumerate(row)]
            table.add_row(*cells)
        parts.append(table)
        parts += [Text(f"{sheet.remark}\n", style="dim")] if sheet.remark else []
    parts += [Text(line) for line in closing_lines(comparison)]
    return Group(*parts)


def closing_lines(comparison: Comparison) -> Iterator[str]:
    """Yield differences, recommendation and notes, one per line."""
    if comparison.differences:
        base = comparison.baseline
        against = "the best" if base is None else comparison.columns[base].title
        yield f"\nLoss against {against}, mean [95% interval]:"
        yield from (f"  {line}" for line in comparison.differences)
    if comparison.advice:
        yield "\nRecommended:"
        yield from (f"  for {advice.purpose}: {advice.choice} – {advice.reason}" for advice in comparison.advice)
    if comparison.notes:
        yield "\nNote:"
        yield from (f"  ! {note}" for note in comparison.notes)


def as_markdown(comparison: Comparison) -> str:
    """Write pipe tables with right-aligned figures; the best values are bold and starred."""
    lines = [_seeds(comparison), ""]
    for sheet in sheets(comparison):
        lines += [f"**{sheet.title}**", "", _pipes(sheet.heads), "| --- |" + " ---: |" * (len(sheet.heads) - 1)]
        for index, row in enumerate(sheet.rows):
            lines.append(_pipes([f"**{c}** {BEST}" if (index, p) in sheet.best else c for p, c in enumerate(row)]))
        lines += ["", sheet.remark, ""] if sheet.remark else [""]
    lines += [line.lstrip("\n") if line.endswith(":") else f"- {line.strip()}" for line in closing_lines(comparison)]
    return "\n".join(lines)


def as_csv(comparison: Comparison) -> str:
    """Write one line per value, unrounded: table, row, column, mean, deviation, seeds, best, and any delta."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    based = comparison.baseline is not None
    writer.writerow(["table", "metric", "run", "mean", "deviation", "seeds", "best", *(["delta"] if based else [])])
    for table, rows in _named_tables(comparison):
        for row in rows:
            for index, (column, value) in enumerate(zip(comparison.columns, row.values, strict=True)):
                if value is not None:
                    deviation = "" if value.deviation is None else value.deviation
                    best = int(index in row.best)
                    line = [table, row.key, column.title, value.mean, deviation, len(column.runs), best]
                    writer.writerow([*line, *(row.deltas[index : index + 1] if based else [])])
    for key, values in comparison.config:
        for column, text in zip(comparison.columns, values, strict=True):
            writer.writerow(["config", key, column.title, text, "", len(column.runs), "", *([""] if based else [])])
    return out.getvalue().rstrip("\n")


def _named_tables(comparison: Comparison) -> Iterator[tuple[str, tuple[Row, ...]]]:
    yield "final", comparison.final
    yield "training", comparison.training
    yield from comparison.further


def as_json(comparison: Comparison) -> str:
    """Write everything, unrounded."""
    data: dict[str, Any] = {
        "runs": [
            {
                "title": column.title,
                "names": [run.name for run in column.runs],
                "seeds": [run.seed for run in column.runs],
            }
            for column in comparison.columns
        ],
        **{name: [_json_row(row) for row in rows] for name, rows in _named_tables(comparison)},
        "config": {key: list(values) for key, values in comparison.config},
        "differences": list(comparison.differences),
        "recommended": {a.purpose: {"run": a.choice, "reason": a.reason} for a in comparison.advice},
        "notes": list(comparison.notes),
    }
    if comparison.baseline is not None:
        data["baseline"] = comparison.columns[comparison.baseline].title
    return json_text(data)


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "metric": row.key,
        "label": row.label,
        "unit": row.unit,
        "values": [
            None if value is None else {"mean": value.mean, "deviation": value.deviation} for value in row.values
        ],
        "best": sorted(row.best),
        **({"deltas": row.deltas} if row.deltas else {}),
    }


def _seeds(comparison: Comparison) -> str:
    marks = {comparison.baseline: ", baseline"}
    return " · ".join(
        f"{column.title} ({column.subtitle}{marks.get(index, '')})" for index, column in enumerate(comparison.columns)
    )


def _cell(text: str, best: bool, position: int) -> Text:
    if best:
        return Text(f"{text} {BEST}", style="bold green")
    return Text(f"{text}  " if position else text)  # two cells wide like the star, so that figures line up


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
