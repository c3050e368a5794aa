"""The table of runs: a window on as many rows as a database holds."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.errors import EetuiError
from core.store.reader import Query, RunRow
from eetui.drawing.palette import palette
from eetui.runs.pages import RunPages
from eetui.runs.standing import Standing
from eetui.runs.table_text import TableColumn, column_at, columns_for, head_lines, row_line

HEAD_LINES = 2
SCROLLBAR = 1
"""Cells that stay free for it, so that nothing moves when it comes."""


class RunsTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows the pages around what is in view; the cursor stays on its run, wherever the run goes."""

    DEFAULT_CSS = """
    RunsTable {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
    }
    RunsTable > .runs-table--head { background: $panel; }
    RunsTable > .runs-table--cursor { background: $foreground 12%; }
    RunsTable:focus > .runs-table--cursor { background: $primary 30%; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"runs-table--head", "runs-table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="runs.up", tooltip="Cursor to the run above"),
        Binding("down,j", "move(1)", "Down", show=False, id="runs.down", tooltip="Cursor to the run below"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="runs.page_up", tooltip="One page up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="runs.page_down", tooltip="One page down"),
        Binding("home,g", "first", "First", show=False, id="runs.first", tooltip="Cursor to the first run"),
        Binding("end,G", "last", "Last", show=False, id="runs.last", tooltip="Cursor to the last run"),
        Binding("enter", "open", "Open", id="runs.open", tooltip="Watch the run under the cursor"),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another run, or on none."""

        run: int | None

    @dataclass
    class Opened(Message):
        """A run was chosen."""

        run: int

    @dataclass
    class HeadPicked(Message):
        """The head of a column was clicked."""

        column: TableColumn

    def __init__(
        self,
        pages: RunPages,
        marked: Container[int],
        standing: Callable[[RunRow], Standing],
    ) -> None:
        super().__init__()
        self.pages, self.marked, self.standing = pages, marked, standing
        self.cursor = 0
        self.run: int | None = None
        """The run under the cursor."""
        self.empty = ""
        """What to say where there are no rows."""

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """The columns that fit."""
        return columns_for(self.size.width - SCROLLBAR)

    @property
    def row(self) -> RunRow | None:
        """The row under the cursor."""
        return self.pages.row(self.cursor)

    @property
    def rows_in_view(self) -> int:
        return max(1, self.size.height - HEAD_LINES)

    def show(self, query: Query, *, from_top: bool = False) -> None:
        """Take other rows, or the same ones anew: the cursor keeps its run, and what is in view stays in view.

        Does not draw: refresh it.

        Raises:
            StoreError: the database can't be read.
        """
        in_view = self._in_view(self.cursor)
        self.pages.show(query)
        before = self.cursor
        self.cursor = 0 if from_top else self._place_of_cursor()
        self._fit()
        if from_top:
            self.scroll_to(y=0, animate=False)
        elif self.scroll_offset.y and self.cursor != before:
            self.scroll_to(y=self.scroll_offset.y + self.cursor - before, animate=False)
        if in_view and not self._in_view(self.cursor):
            self._reveal()
        self._note_run()

    def _place_of_cursor(self) -> int:
        """Where the run under the cursor is now; where the cursor was, if it is gone."""
        last = max(0, self.pages.count - 1)
        row = self.pages.row(self.cursor)
        if self.run is None or (row is not None and row["id"] == self.run):
            return min(self.cursor, last)
        place = self.pages.position(self.run)
        return min(self.cursor, last) if place is None else place

    def _note_run(self) -> None:
        row = self.row
        run = row["id"] if row else None
        if run != self.run:
            self.run = run
            self.post_message(self.Moved(run))

    def go(self, index: int) -> None:
        """Put the cursor on a row, and that row into view."""
        before, self.cursor = self.cursor, max(0, min(index, self.pages.count - 1))
        self._reveal()
        self._note_run()
        for row in (before, self.cursor):
            self.refresh_line(row + HEAD_LINES)

    def _in_view(self, index: int) -> bool:
        return self.scroll_offset.y <= index < self.scroll_offset.y + self.rows_in_view

    def _reveal(self) -> None:
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + self.rows_in_view:
            self.scroll_to(y=self.cursor - self.rows_in_view + 1, animate=False)

    def _fit(self) -> None:
        self.virtual_size = Size(self.size.width, self.pages.count + HEAD_LINES)

    # Keys and mouse

    def action_move(self, rows: int) -> None:
        self._attempt(lambda: self.go(self.cursor + rows))

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.rows_in_view - 1))

    def action_first(self) -> None:
        self._attempt(lambda: self.go(0))

    def action_last(self) -> None:
        self._attempt(lambda: self.go(self.pages.count - 1))

    def action_open(self) -> None:
        if self.run is not None:
            self.post_message(self.Opened(self.run))

    def on_click(self, event: Click) -> None:
        if event.y < HEAD_LINES:
            column = column_at(self.columns, event.x)
            if column is not None and column.sorts:
                self.post_message(self.HeadPicked(column))
            return
        index = event.y - HEAD_LINES + self.scroll_offset.y
        if index < self.pages.count:
            self._attempt(lambda: self.go(index))
            if event.chain == 2:
                self.action_open()

    def on_resize(self, event: Resize) -> None:
        self._fit()
        if not self._in_view(self.cursor):
            self._reveal()

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except EetuiError as error:
            self.notify(str(error), severity="error", markup=False)

    # Drawing

    def render_line(self, y: int) -> Strip:
        if y < HEAD_LINES:
            query = self.pages.query
            line = head_lines(self.columns, query.order_by, query.descending, self._palette())[y]
            return self._strip(line, self.get_component_rich_style("runs-table--head"))
        index = y - HEAD_LINES + self.scroll_offset.y
        if not self.pages.count and y == HEAD_LINES + 1:
            return self._strip(Text(f"  {self.empty}"), self.rich_style)
        under_cursor = index == self.cursor and self.pages.count > 0
        style = self.get_component_rich_style("runs-table--cursor") if under_cursor else self.rich_style
        return self._strip(self._row_line(index, under_cursor), style)

    def _row_line(self, index: int, under_cursor: bool) -> Text:
        try:
            row = self.pages.row(index)
            if row is None:
                return Text()
            marked = row["id"] in self.marked
            return row_line(
                self.columns, row, self.standing(row), self._palette(), marked=marked, under_cursor=under_cursor
            )
        except EetuiError as error:  # nothing may be raised while the screen is drawn
            return Text(f"  {error}")

    def _palette(self) -> Any:
        return palette(self.app.theme_variables)

    def _strip(self, line: Text, style: Style) -> Strip:
        strip = Strip(list(line.render(self.app.console)))
        return strip.adjust_cell_length(self.size.width).apply_style(style)
