"""Evaluation tokens as flowing text, each in the look of the block it leaves at, and a cursor on one of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from eetui.drawing.themes import block_style
from eetui.inspection.token_layout import Layout, Looks

RIGHT = "bold"
CURSOR = Style(reverse=True, bold=True)


class TokenText(ScrollView, can_focus=True, inherit_bindings=False):
    """A text of any length: only the lines in view are drawn, and only those up to them are laid out."""

    DEFAULT_CSS = """
    TokenText { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,ctrl+left", "go(-1)", "Previous token", show=False, id="tokens.previous", tooltip="Token before"),
        Binding("l,ctrl+right", "go(1)", "Next token", show=False, id="tokens.next", tooltip="Token after"),
        Binding("k,up,ctrl+up", "go_lines(-1)", "Line up", show=False, id="tokens.up", tooltip="Token above"),
        Binding("j,down,ctrl+down", "go_lines(1)", "Line down", show=False, id="tokens.down", tooltip="Token below"),
        Binding("pageup", "go_pages(-1)", "Page up", show=False, id="tokens.page_up", tooltip="A page up"),
        Binding("pagedown", "go_pages(1)", "Page down", show=False, id="tokens.page_down", tooltip="A page down"),
        Binding("home", "go_to(0)", "First token", show=False, id="tokens.first", tooltip="First token"),
        Binding("end", "go_to(-1)", "Last token", show=False, id="tokens.last", tooltip="Last token"),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)
    """The token that the cursor is on."""

    @dataclass
    class Moved(Message):
        """The cursor is on another token."""

        token: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id)
        self._tokens: NDArray[Any] = np.empty(0, np.int32)
        self._looks = Looks((), (), words=False)
        self._left_at: NDArray[Any] = self._tokens
        self._correct: NDArray[Any] = self._tokens
        self._layout: Layout | None = None
        self._wanted_column = 0

    def show(self, tokens: NDArray[Any], looks: Looks) -> None:
        """Another text."""
        self._tokens, self._looks, self._layout = tokens, looks, None
        self.mark(np.zeros(len(tokens), np.int8), np.zeros(len(tokens), np.bool_))
        self.cursor = 0
        self._fit()

    def mark(self, left_at: NDArray[Any], correct: NDArray[Any]) -> None:
        """Mark where each token leaves, and whether its prediction there is right; only changed lines are redrawn."""
        before, self._left_at, self._correct = (self._left_at, self._correct), left_at, correct
        if self._layout is None or len(before[0]) != len(left_at):
            self.refresh()
            return
        top = self.scroll_offset.y
        for number in range(top, top + self.scrollable_content_region.height):
            line = self._layout.line(number)
            tokens = slice(line.start, line.stop)
            if (before[0][tokens] != left_at[tokens]).any() or (before[1][tokens] != correct[tokens]).any():
                self.refresh_line(number)

    # The cursor

    def validate_cursor(self, token: int) -> int:
        return max(0, min(token, len(self._tokens) - 1))

    def watch_cursor(self, before: int, token: int) -> None:
        if self._layout is None:
            return
        line = self._layout.line_of(token)
        self._measure()
        for changed in {self._layout.line_of(before), line}:
            self.refresh_line(changed)
        self._scroll_into_view(line)
        self.post_message(self.Moved(token))

    def _scroll_into_view(self, line: int) -> None:
        top, height = self.scroll_offset.y, max(1, self.scrollable_content_region.height)
        if not top <= line < top + height:
            target = (
                line
                if top - height <= line < top
                else line - height + 1
                if line < top + 2 * height
                else line - height // 2
            )
            self.scroll_to(y=max(0, target), animate=False, force=True)

    def action_go(self, tokens: int) -> None:
        self.cursor += tokens
        self._remember_column()

    def action_go_to(self, token: int) -> None:
        """Count from the end where negative."""
        self.cursor = token if token >= 0 else len(self._tokens) + token
        self._remember_column()

    def action_go_lines(self, lines: int) -> None:
        """Go to the token in the same column, so many lines below."""
        if self._layout is None:
            return
        line = max(0, self._layout.line_of(self.cursor) + lines)
        token = self._layout.token_at(line, self._wanted_column)
        self.cursor = len(self._tokens) - 1 if token is None else token

    def action_go_pages(self, pages: int) -> None:
        self.action_go_lines(pages * max(1, self.scrollable_content_region.height - 1))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and self._layout is not None:
            token = self._layout.token_at(offset.y + self.scroll_offset.y, offset.x)
            if token is not None:
                self.cursor = token
                self._remember_column()

    def _remember_column(self) -> None:
        if self._layout is not None:
            self._wanted_column = self._layout.column(self.cursor)

    # Drawing

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.refresh())

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Lay the text out anew where the width has changed, the cursor staying in view."""
        width = self.scrollable_content_region.width
        if width <= 0 or not len(self._tokens) or (self._layout is not None and self._layout.width == width):
            return
        self._layout = Layout(self._tokens, self._looks, width)
        line = self._layout.line_of(self.cursor)
        self._measure()
        self._scroll_into_view(line)
        self.refresh()

    def _measure(self) -> None:
        """Tell the scroll bar how long the text is, as far as that is known."""
        if self._layout is not None:
            size = Size(self._layout.width, self._layout.height)
            if size != self.virtual_size:
                self.virtual_size = size

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.scrollable_content_region.width
        if self._layout is None:
            return Strip.blank(width, base)
        number = y + self.scroll_offset.y
        tokens = self._layout.line(number)
        if tokens and number + 1 == self._layout.known and not self._layout.complete:
            self.call_next(self._measure)
        segments = [Segment(" " * self._layout.indent(number), base)] if tokens else []
        for token in tokens:
            segments += self._segments(token, base)
        return Strip(segments, sum(cell_len(segment.text) for segment in segments)).adjust_cell_length(width, base)

    def _segments(self, token: int, base: Style) -> list[Segment]:
        """Draw a token in its style; a blank before it is left unstyled, so that words stay apart."""
        look = self._looks.looks[int(self._tokens[token])].text
        dark = self.app.current_theme.dark
        style = base + token_style(int(self._left_at[token]), bool(self._correct[token]), dark)
        if token == self.cursor:
            return [Segment(look, style + CURSOR)]
        word = look.lstrip(" ")
        return [Segment(look[: len(look) - len(word)], base), Segment(word, style)]


@lru_cache
def token_style(block: int, correct: bool, dark: bool) -> Style:
    """Return the style of the tokens that leave at a block."""
    style = block_style(block, dark=dark)
    return style + Style.parse(RIGHT) if correct else style
