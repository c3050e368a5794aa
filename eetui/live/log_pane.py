"""The log pane: the newest lines of a run's log."""

from textual.events import Resize
from textual.widgets import RichLog

from eetui.drawing.palette import palette
from eetui.live.following import LINES, Following
from eetui.live.text import log_text


class LogPane(RichLog):
    """Log lines of the followed run, written only while the pane is in view."""

    DEFAULT_CSS = """
    LogPane {
        height: 12; background: $surface; padding: 0 1 0 0; border-left: blank $surface;
        scrollbar-size-vertical: 1; scrollbar-gutter: stable;
    }
    LogPane:focus { background: $panel; border-left: thick $primary; }
    """

    def __init__(self) -> None:
        super().__init__(max_lines=LINES, wrap=True)
        self.following: Following | None = None
        self._written = 0
        self._of: tuple[Following | None, int, str] = (None, 0, "")

    def show(self, following: Following) -> None:
        """Write the lines that are new."""
        self.following = following
        if self.display and self.scrollable_content_region.width:
            self._write_new(following)

    def on_resize(self, event: Resize) -> None:
        if self.following is not None:
            self.show(self.following)

    def _write_new(self, following: Following) -> None:
        """Write the lines not yet written; all of them for another run, width or theme."""
        width = self.scrollable_content_region.width
        if (following, width, self.app.theme) != self._of:
            self.clear()
            self._of, self._written = (following, width, self.app.theme), 0
        style = palette(self.app.theme_variables)
        new = min(following.lines_seen - self._written, len(following.lines))
        for line in list(following.lines)[len(following.lines) - new :]:
            self.write(log_text(line, style), width=width)
        self._written = following.lines_seen
