"""Text that grows at its end: only new text is laid out, so that a long text costs no more than a short one."""

from collections.abc import Iterable

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip


class FlowingText(ScrollView, can_focus=True):
    """Shows the end of its text while it grows, unless the user has scrolled away from it."""

    DEFAULT_CSS = """
    FlowingText { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id)
        self._lines: list[Text] = [Text()]
        """Lines laid out to the width; the last one is continued by new text."""

    @property
    def text(self) -> str:
        """The text as laid out, with its line breaks."""
        return "\n".join(line.plain for line in self._lines)

    def clear(self) -> None:
        self._lines = [Text()]
        self.scroll_to(y=0, animate=False, force=True)
        self._measure(at_end=False)

    def append(self, texts: Iterable[Text]) -> None:
        """Add texts at the end."""
        width = self.scrollable_content_region.width
        if width > 0:
            at_end = self.scroll_offset.y >= self.max_scroll_y
            tail = Text.assemble(self._lines.pop(), *texts)
            self._lines += tail.wrap(self.app.console, width) or [Text()]
            self._measure(at_end=at_end)

    def _measure(self, *, at_end: bool) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._lines))
        if at_end:
            self.scroll_end(animate=False, force=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.scrollable_content_region.width
        number = y + self.scroll_offset.y
        if number >= len(self._lines):
            return Strip.blank(width, base)
        strip = Strip(self._lines[number].render(self.app.console)).apply_style(base)
        return strip.adjust_cell_length(width, base)
