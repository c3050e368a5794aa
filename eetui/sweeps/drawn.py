"""The content of each view of a sweep, for its table: heads, rows, notes, and the combinations of a place."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.text import Text
from textual.color import Color

from core.sweeps.combinations import varied
from core.sweeps.heat import HeatTable
from core.sweeps.importance import Importance
from eetui.drawing.palette import Palette
from eetui.drawing.themes import THEMES, hue
from eetui.summary import sweep_views_text as words
from eetui.sweeps import text
from eetui.sweeps.data import Found

STRONGEST = 0.45
"""Share of the hue in the background of the best cell."""


@dataclass(frozen=True)
class Content:
    """A table of texts.

    Attributes:
        left: number of columns aligned to the left.
        marks: column of the signs of seeds; -1: none.
        styles: by row and column.
    """

    heads: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    left: int = 1
    empty: str = ""
    marks: int = -1
    styles: Mapping[tuple[int, int], str] = field(default_factory=dict)


def content(found: Found, *, dark: bool) -> Content:
    """Return the content of the view that was wanted."""
    match found.wanted.view:
        case "heat":
            return _heat(found.table, dark)
        case "front":
            rows = words.front_rows(found.front, found.by_point)
            note = text.front_note(found.front)
            return Content(words.FRONT_HEADS, rows, (note,) if rows else (), 2, words.NO_FRONT)
        case "best":
            rows = words.best_rows(found.choices)
            notes = tuple(words.best_notes(found.choices))
            return Content(words.BEST_HEADS, rows, notes, 3, words.NO_BEST)
        case _:
            fields = len(varied(found.combinations))
            return Content(text.cell_heads(found), text.cell_rows(found), (text.LEGEND,), fields + 2, "", fields + 1)


def _heat(table: HeatTable | None, dark: bool) -> Content:
    if table is None:
        return Content(empty=words.NOTHING_VARIED)
    notes = (words.heat_title(table), *words.heat_notes(table))
    base, strong = Color.parse(THEMES[0 if dark else 1].background or "black"), Color.parse(hue(0).on(dark))
    styles = {
        (row, column): f"on {base.blend(strong, STRONGEST * cell.warmth).hex}"
        for row, cells in enumerate(table.cells)
        for column, cell in enumerate(cells, start=1)
        if cell and cell.warmth is not None
    }
    return Content(words.heat_heads(table), words.heat_rows(table), notes, styles=styles)


def importance_text(found: Importance | str) -> Text:
    """Draw the importance of each field, or why there is none."""
    if isinstance(found, str):
        return Text(found)
    rows = "\n".join(words.aligned(("", "", ""), words.importance_rows(found), left=2))
    return Text.assemble(
        (f"{found.metric.label}\n", "bold"), rows, (f"\n\n{words.importance_title(found)}.", "dim"),
        (f"\n{words.importance_note(found)}.", "dim"),
    )  # fmt: skip


def points_at(found: Found, row: int, column: int) -> tuple[int, ...]:
    """Return the combinations of a place in the table of the view."""
    match found.wanted.view:
        case "heat" if found.table is not None:
            cell = found.table.cells[row][column - 1]
            return cell.points if cell else ()
        case "front" if found.front:
            return (found.front[row].point,)
        case "best" if found.choices:
            return (found.choices[row].best.point,)
        case "cells" if found.combinations:
            return (found.combinations[row].point,)
    return ()


def coloured(
    marks: int, colours: Palette, styles: Mapping[tuple[int, int], str], row: int, column: int, cell: str
) -> Text:
    """Draw a cell: signs of seeds in colours, others in the style that they may have."""
    if column == marks:
        return text.coloured_marks(cell, colours)
    return Text(cell, styles.get((row, column), ""))
