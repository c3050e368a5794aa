"""A comparison as Rich tables, Markdown, CSV or JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eetui.compare.comparison import Comparison, Row
from eetui.compare.sheets import BEST, MOST_COLUMNS, Sheet, parts_of, sheets
from eetui.drawing.formats import csv_text, json_text, markdown, pipes
from eetui.drawing.harmless import lines

HEAD_WIDTH, GAP = 13, 3
"""Cells that the heading of a metric may take in a line above runs as rows, and those between columns and of a star."""


def as_tables(comparison: Comparison, width: int = 200) -> RenderableType:
    """Draw the comparison for a terminal of that width."""
    parts: list[RenderableType] = [Text(_seeds(comparison), style="dim")]
    for sheet in sheets(comparison):
        parts += map(drawn_sheet, _fitting_parts(sheet, width) if sheet.turned else [sheet])
    parts += [Text(line) for line in closing_lines(comparison)]
    return Group(*parts)


def drawn_sheet(sheet: Sheet) -> RenderableType:
    """Draw a sheet for a terminal."""
    table = Table(title=Text(sheet.title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for position, head in enumerate(sheet.heads):
        # Text, not markup: a run's name is the user's, and may look like a tag
        table.add_column(
            Text(head),
            justify="right" if position else "left",
            overflow="fold",
            width=_width(sheet, position) if sheet.turned else None,
        )
    for row_index, row in enumerate(sheet.rows):
        cells = [_cell(text, (row_index, position) in sheet.best, position) for position, text in enumerate(row)]
        table.add_row(*cells)
    return Group(table, Text(f"{sheet.remark}\n", style="dim")) if sheet.remark else table


def closing_lines(comparison: Comparison) -> Iterator[str]:
    """Yield differences, recommendation and notes, one per line."""
    return map(lines, _closing_lines(comparison))


def _closing_lines(comparison: Comparison) -> Iterator[str]:
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
    written = [markdown(_seeds(comparison)), ""]
    written += [line for sheet in sheets(comparison) for line in markdown_sheet(sheet)]
    for line in closing_lines(comparison):
        written.append(markdown(line.strip()) if line.endswith(":") else f"- {markdown(line.strip())}")
    return "\n".join(written)


def _fitting_parts(sheet: Sheet, width: int) -> Iterator[Sheet]:
    widths = [_width(sheet, position) + GAP for position in range(len(sheet.heads))]
    return parts_of(sheet, widths, width)


def _width(sheet: Sheet, position: int) -> int:
    """Return the width of a column above which its heading folds."""
    cells = max((cell_len(row[position]) for row in sheet.rows), default=0) + 2 * bool(position and sheet.best)
    longest = max(map(cell_len, sheet.heads[position].split()), default=0)
    return max(cells, min(cell_len(sheet.heads[position]), max(HEAD_WIDTH, longest)))


def markdown_sheet(sheet: Sheet) -> Iterator[str]:
    """Yield the lines of a pipe table with its title above and its remark below."""
    heads = pipes(map(markdown, sheet.heads))
    yield from (f"**{markdown(sheet.title)}**", "", heads, "| --- |" + " ---: |" * (len(sheet.heads) - 1))
    for index, row in enumerate(sheet.rows):
        cells = [(markdown(cell), (index, place) in sheet.best) for place, cell in enumerate(row)]
        yield pipes(f"**{cell}** {BEST}" if best else cell for cell, best in cells)
    yield from ("", markdown(sheet.remark), "") if sheet.remark else ("",)


def as_csv(comparison: Comparison) -> str:
    """Write one line per value, unrounded: table, row, column, mean, deviation, seeds, best, and any delta."""
    return csv_text(_csv_rows(comparison)).rstrip("\n")


def _csv_rows(comparison: Comparison) -> Iterator[Sequence[object]]:
    based = comparison.baseline is not None
    yield ["table", "metric", "run", "mean", "deviation", "seeds", "best", *(["delta"] if based else [])]
    for table, rows in _named_tables(comparison):
        for row in rows:
            for index, (column, value) in enumerate(zip(comparison.columns, row.values, strict=True)):
                if value is not None:
                    deviation = "" if value.deviation is None else value.deviation
                    best = int(index in row.best)
                    seeds = row.seeds[index] if row.seeds else len(column.runs)
                    line = [table, row.key, column.exact_title, value.mean, deviation, seeds, best]
                    yield [*line, *(row.deltas[index : index + 1] or [""] if based else [])]
    for key, values in comparison.config:
        for column, text in zip(comparison.columns, values, strict=True):
            yield ["config", key, column.exact_title, text, "", len(column.runs), "", *([""] if based else [])]


def _named_tables(comparison: Comparison) -> Iterator[tuple[str, tuple[Row, ...]]]:
    yield "final", comparison.final
    yield "training", comparison.training
    yield from comparison.further


def as_json(comparison: Comparison) -> str:
    """Write everything, unrounded."""
    data: dict[str, Any] = {
        "runs": [
            {
                "title": column.exact_title,
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
        data["baseline"] = comparison.columns[comparison.baseline].exact_title
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
        **({"seeds": row.seeds} if row.seeds else {}),
    }


def _seeds(comparison: Comparison) -> str:
    """Return each column with its seeds, or the number of many columns."""
    if len(comparison.columns) > MOST_COLUMNS:
        base = "" if comparison.baseline is None else f", baseline {comparison.columns[comparison.baseline].title}"
        return f"{len(comparison.columns)} side by side{base}"
    marks = {comparison.baseline: ", baseline"}
    return " · ".join(
        f"{column.title} ({column.subtitle}{marks.get(index, '')})" for index, column in enumerate(comparison.columns)
    )


def _cell(text: str, best: bool, position: int) -> Text:
    if best:
        return Text(f"{text} {BEST}", style="bold green")
    return Text(f"{text}  " if position else text)  # two cells wide like the star, so that figures line up
