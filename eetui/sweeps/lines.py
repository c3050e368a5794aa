"""A table of any number of rows, of which those in view are drawn, with a cursor on a row or on a cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from eetui.drawing.cells import fitted

GAP = 2
SCROLLBAR = 1
EDGE, CURSOR = 2, "› "
"""Cells left of the first column, and what stands there in the row under the cursor."""
NARROWEST = 10
"""Cells that are left of the first column where the others need room."""

Paint = Callable[[int, int, str], Text]
"""Draws the text of a row's column."""


class Lines(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows of texts below their heads; the first column stays in view."""

    DEFAULT_CSS = """
    Lines { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Lines > .lines--head { background: $panel; text-style: bold; }
    Lines > .lines--cursor { background: $foreground 12%; }
    Lines:focus > .lines--cursor { background: $primary 30%; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--head", "lines--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="lines.up", tooltip="Cursor to the row above"),
        Binding("down,j", "move(1)", "Down", show=False, id="lines.down", tooltip="Cursor to the row below"),
        Binding("left,h", "sideways(-1)", "Left", show=False, id="lines.left", tooltip="Cell or columns to the left"),
        Binding(
            "right,l", "sideways(1)", "Right", show=False, id="lines.right", tooltip="Cell or columns to the right"
        ),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="lines.page_up", tooltip="One page up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="lines.page_down", tooltip="One page down"),
        Binding("home,g", "move(-1000000)", "First", show=False, id="lines.first", tooltip="Cursor to the first row"),
        Binding("end,G", "move(1000000)", "Last", show=False, id="lines.last", tooltip="Cursor to the last row"),
        Binding("enter", "open", "Open", id="lines.open", tooltip="Open what is under the cursor"),
    ]

    @dataclass
    class Moved(Message):
        """The cursor moved to another row."""

        lines: "Lines"

        @property
        def control(self) -> "Lines":
            return self.lines

    @dataclass
    class Opened(Message):
        """What is under the cursor was chosen."""

        lines: "Lines"

        @property
        def control(self) -> "Lines":
            return self.lines

    def __init__(self, *, by_cell: bool = False, id: str | None = None) -> None:  # noqa: A002  # as in Textual
        super().__init__(id=id)
        self.by_cell = by_cell
        self.heads: tuple[str, ...] = ()
        self.rows: Sequence[tuple[str, ...]] = ()
        self.cursor, self.column, self.shift = 0, 1, 0
        """Row, and of cells the column, under the cursor; columns that are scrolled away to the left."""
        self.empty = ""
        self._left = 1
        self._paint: Paint = _plain
        self._widths: list[int] = []

    def show(
        self, heads: Sequence[str], rows: Sequence[tuple[str, ...]], *, left: int = 1, paint: Paint | None = None
    ) -> None:
        """Show other rows; the cursor stays where it is, if it can.

        Args:
            left: number of columns aligned to the left.
        """
        self.heads, self.rows, self._left, self._paint = tuple(heads), rows, left, paint or _plain
        shown = [self.heads, *rows] if self.heads else [*rows]
        self._widths = [max(cell_len(row[place]) for row in shown) for place in range(len(shown[0]))] if shown else []
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self.column = max(1, min(self.column, len(self._widths) - 1))
        self.shift = min(self.shift, max(0, len(self._widths) - 2))
        self._fit()
        self._reveal()
        self.refresh()

    @property
    def _head_lines(self) -> int:
        return 1 if self.heads else 0

    def _fit(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + self._head_lines)

    def go(self, row: int) -> None:
        """Put the cursor on a row."""
        before, self.cursor = self.cursor, max(0, min(row, len(self.rows) - 1))
        self._reveal()
        self.refresh()
        if before != self.cursor:
            self.post_message(self.Moved(self))

    def _reveal(self) -> None:
        top, high = self.scroll_offset.y, max(1, self.size.height - self._head_lines)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + high:
            self.scroll_to(y=self.cursor - high + 1, animate=False)

    def action_move(self, rows: int) -> None:
        self.go(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.size.height - self._head_lines - 1))

    def action_sideways(self, step: int) -> None:
        if self.by_cell:
            self.column = max(1, min(self.column + step, len(self._widths) - 1))
            if self.column <= self.shift:
                self.shift = self.column - 1
            while self.column not in self._in_view() and self.shift < self.column - 1:
                self.shift += 1
        else:
            hidden = bool(self._widths) and self._in_view()[-1] < len(self._widths) - 1
            self.shift = max(0, self.shift + step) if step < 0 or hidden else self.shift
        self.refresh()

    def action_open(self) -> None:
        if self.rows:
            self.post_message(self.Opened(self))

    def on_click(self, event: Click) -> None:
        row = event.y - self._head_lines + self.scroll_offset.y
        if event.y >= self._head_lines and row < len(self.rows):
            self.go(row)
            if event.chain == 2:
                self.action_open()

    def on_resize(self, event: Resize) -> None:
        self._fit()
        self._reveal()

    # Drawing

    def _first_width(self) -> int:
        """Return the width of the first column: less than it takes where the next one would not fit."""
        room = self.size.width - SCROLLBAR - EDGE - GAP - (self._widths[1] if len(self._widths) > 1 else 0)
        return min(self._widths[0], max(NARROWEST, room))

    def _in_view(self) -> list[int]:
        """Return the columns that fit: the first one, and those from `shift` on."""
        left = self.size.width - SCROLLBAR - EDGE - self._first_width()
        columns = [0]
        for column in range(1 + self.shift, len(self._widths)):
            left -= self._widths[column] + GAP
            if left < 0 and len(columns) > 1:
                break
            columns.append(column)
        return columns

    def render_line(self, y: int) -> Strip:
        if y < self._head_lines:
            style = self.get_component_rich_style("lines--head")
            return self._strip(self._line(self.heads, None)).apply_style(style)
        row = y - self._head_lines + self.scroll_offset.y
        if row >= len(self.rows):
            text = self.empty if not self.rows and y == self._head_lines else ""
            return self._strip(Text(f" {text}")).apply_style(self.rich_style)
        under = row == self.cursor
        strip = self._strip(self._line(self.rows[row], row))
        return strip.apply_style(
            self.get_component_rich_style("lines--cursor") if under and not self.by_cell else self.rich_style
        )

    def _line(self, cells: Sequence[str], row: int | None) -> Text:
        line = Text(CURSOR if row == self.cursor and not self.by_cell else " " * EDGE, no_wrap=True)
        for column in self._in_view():
            width = self._widths[column] if column else self._first_width()
            text = fitted(cells[column], width, "left" if column < self._left else "right")
            drawn = Text(text) if row is None else self._paint(row, column, text)
            if self.by_cell and (row, column) == (self.cursor, self.column):
                drawn.stylize(self.get_component_rich_style("lines--cursor"))
                drawn.stylize("reverse" if self.has_focus else "underline")
            line.append_text(drawn).append(" " * GAP)
        return line

    def _strip(self, line: Text) -> Strip:
        return Strip(list(line.render(self.app.console))).adjust_cell_length(self.size.width)


def _plain(row: int, column: int, text: str) -> Text:
    return Text(text)
