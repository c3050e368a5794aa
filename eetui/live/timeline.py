"""The list of stages: select one by key (the screen's) or by mouse."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from eetui.drawing.palette import palette
from eetui.live.situation import StageRow
from eetui.live.timeline_text import timeline

FEWEST_LINES = 9
"""Stages of two blocks: the room that is kept while they are not known yet."""


class Timeline(Widget):
    """Draws the rows it is given; says which was clicked."""

    DEFAULT_CSS = "Timeline { height: auto; }"

    @dataclass
    class Clicked(Message):
        """A stage was clicked."""

        index: int

    rows: tuple[StageRow, ...] = ()
    selected = 0
    room = FEWEST_LINES
    """Most lines it may take."""

    def show(self, rows: Sequence[StageRow], selected: int, room: int) -> None:
        """Draw these instead, in at most so many lines."""
        if (tuple(rows), selected, room) == (self.rows, self.selected, self.room):
            return
        resized = (len(rows), room) != (len(self.rows), self.room)
        self.rows, self.selected, self.room = tuple(rows), selected, room
        self.refresh(layout=resized)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return min(max(len(self.rows), FEWEST_LINES), self.room)

    def render(self) -> Text:
        style = palette(self.app.theme_variables)
        if not self.rows:
            return Text("The stages appear here when the run begins.", style.quiet)
        return timeline(self.rows, self.selected, self.size.width, self.size.height, style)

    def on_click(self, event: events.Click) -> None:
        first = min(max(self.selected - self.size.height // 2, 0), max(len(self.rows) - self.size.height, 0))
        if first + event.y < len(self.rows):
            self.post_message(self.Clicked(first + event.y))
