"""The list of stages, which the mouse selects here and keys select on the screen."""

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
"""Height kept while the stages are unknown: that of two blocks' stages."""


class Timeline(Widget):
    """Rows of stages; posts which one was clicked."""

    DEFAULT_CSS = "Timeline { height: auto; }"

    @dataclass
    class Clicked(Message):
        """A stage was clicked."""

        index: int

    rows: tuple[StageRow, ...] = ()
    selected = 0
    most_lines = FEWEST_LINES
    """Most lines that the widget takes."""

    def show(self, rows: Sequence[StageRow], selected: int, most_lines: int) -> None:
        """Draw these rows, in at most `most_lines` lines."""
        if (tuple(rows), selected, most_lines) == (self.rows, self.selected, self.most_lines):
            return
        resized = (len(rows), most_lines) != (len(self.rows), self.most_lines)
        self.rows, self.selected, self.most_lines = tuple(rows), selected, most_lines
        self.refresh(layout=resized)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return min(max(len(self.rows), FEWEST_LINES), self.most_lines)

    def render(self) -> Text:
        style = palette(self.app.theme_variables)
        if not self.rows:
            return Text("The stages appear here when the run begins.", style.quiet)
        return timeline(self.rows, self.selected, self.size.width, self.size.height, style)

    def on_click(self, event: events.Click) -> None:
        first = min(max(self.selected - self.size.height // 2, 0), max(len(self.rows) - self.size.height, 0))
        if first + event.y < len(self.rows):
            self.post_message(self.Clicked(first + event.y))
