"""A table of runs side by side: metric names stay in view, columns scroll, cells change in place."""

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from eetui.compare.sheets import BEST, NOTHING_CLEAR, Sheet

NARROW, NARROW_LABEL = 100, 24
"""Screen width in cells below which metric names are folded, and the width they get: two runs fit beside them."""
WIDEST_VALUE, WIDEST_NARROW_VALUE = 40, 24
"""Width above which values are folded, such as the reference of a pretrained model; and on a narrow screen."""


class CompareTable(DataTable[Text]):
    """One sheet of a comparison. The cursor is on a run: a column, or a row where they are many."""

    DEFAULT_CSS = """
    CompareTable { height: 1fr; background: $background; scrollbar-size-vertical: 1; }
    CompareTable:focus { background-tint: $foreground 0%; }
    CompareTable > .datatable--header { background: $panel; }
    CompareTable > .datatable--fixed { background: $surface; color: $foreground; }
    CompareTable > .datatable--even-row { background: $foreground 4%; }
    CompareTable > .datatable--odd-row { background: $background; }
    CompareTable > .datatable--cursor { background: $primary 15%; color: $foreground; text-style: none; }
    CompareTable > .datatable--header-cursor {
        background: $primary 40%; color: $foreground; text-style: bold underline;
    }
    CompareTable:focus > .datatable--cursor { background: $primary 30%; color: $foreground; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "cursor_left", "Left", show=False, id="table.left", tooltip="Column to the left"),
        Binding("l,right", "cursor_right", "Right", show=False, id="table.right", tooltip="Column to the right"),
        Binding("k,up", "cursor_up", "Up", show=False, id="table.up", tooltip="Scroll the table up"),
        Binding("j,down", "cursor_down", "Down", show=False, id="table.down", tooltip="Scroll the table down"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id, cursor_type="column", fixed_columns=1, header_height=2, zebra_stripes=True)
        self._shown: tuple[object, ...] = ()
        self._cells: list[list[Text]] = []

    @property
    def chosen(self) -> int | None:
        """The run under the cursor, from 0; None on the metric names."""
        if self.cursor_type == "row":
            return self.cursor_row
        return self.cursor_column - 1 if self.cursor_column > 0 else None

    def show(self, sheet: Sheet, subtitles: tuple[str, ...], width: int) -> None:
        """Show a sheet; if it has the columns and rows of the one before, its cells change in place."""
        heads = _turned_heads(sheet) if sheet.turned else _heads(sheet, subtitles)
        shape = (heads, tuple(row[0] for row in sheet.rows), width < NARROW, sheet.turned)
        cells = [_cells(sheet, number) for number in range(len(sheet.rows))]
        if sheet.turned:
            for row, subtitle in zip(cells, subtitles, strict=True):
                row[0].append(f"  {subtitle}", "dim")
        self.cursor_type = "row" if sheet.turned else "column"
        if shape == self._shown:
            self._change(cells)
        else:
            self._build(heads, cells, width)
        self._shown, self._cells = shape, cells

    def _change(self, cells: list[list[Text]]) -> None:
        for row, (before, now) in enumerate(zip(self._cells, cells, strict=True)):
            for column, (old, new) in enumerate(zip(before, now, strict=True)):
                if old != new or old.style != new.style:
                    self.update_cell_at(Coordinate(row, column), new, update_width=True)

    def _build(self, heads: tuple[str, ...], cells: list[list[Text]], width: int) -> None:
        """Build the table again, keeping the cursor and the scroll position if possible."""
        cursor, row_cursor, offset = max(1, self.cursor_column), self.cursor_row, self.scroll_offset
        with self.app.batch_update():
            self.clear(columns=True)
            label = NARROW_LABEL if width < NARROW else None
            widest = WIDEST_NARROW_VALUE if width < NARROW else WIDEST_VALUE
            for number, head in enumerate(heads):
                text = Text(head, justify="right" if number else "left")
                folds = any(row[number].cell_len > widest for row in cells)
                self.add_column(text, width=(widest if folds else None) if number else label)
            for row in cells:
                self.add_row(*row, height=None)
            on_row = min(row_cursor, len(cells) - 1) if self.cursor_type == "row" else 0
            self.move_cursor(row=on_row, column=min(cursor, len(heads) - 1), scroll=False)
        self.scroll_to(*offset, animate=False)


def _heads(sheet: Sheet, subtitles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the column heads, of two lines each."""
    titles = zip(sheet.heads[1:], subtitles, strict=True)
    return (_corner(sheet), *(f"{title}\n{subtitle}" for title, subtitle in titles))


def _turned_heads(sheet: Sheet) -> tuple[str, ...]:
    """Return the column heads where runs are rows: names of metrics, folded to two lines."""
    return (_corner(sheet), *("\n".join(_halves(name)) for name in sheet.heads[1:]))


def _halves(name: str) -> tuple[str, str]:
    """Split a name between words so that the longer half is short."""
    words = name.split(" ")
    splits = [(" ".join(words[:place]), " ".join(words[place:])) for place in range(1, len(words) + 1)]
    return min(splits, key=lambda halves: max(map(len, halves)))


def _corner(sheet: Sheet) -> str:
    """Return what stands over the first column: the title, and what stars are."""
    star = f"{BEST} best of the {'column' if sheet.turned else 'row'}"
    return f"{sheet.title}\n{star if sheet.best else NOTHING_CLEAR if sheet.remark else ''}"


def _cells(sheet: Sheet, number: int) -> list[Text]:
    """Return a row's cells, figures right-aligned; two cells stay free where there is no star, so that they line up."""
    label, *values = sheet.rows[number]
    starred = bool(sheet.best)
    cells = [Text(label)]
    for column, value in enumerate(values, start=1):
        best = (number, column) in sheet.best
        text = f"{value} {BEST}" if best else f"{value}  " if starred else value
        cells.append(Text(text, "bold" if best else "", justify="right"))
    return cells
