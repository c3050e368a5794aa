"""The Rich console of every command: whatever is printed on it, the terminal gets colours and plain text."""

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from eetui.drawing.harmless import same_width


class HarmlessConsole(Console):
    """A console that takes no text for markup, and takes out of every text what a terminal would obey."""

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        """Print to a standard stream as `eetui.cli.streams` left it, past its guard: what is printed is harmless."""
        super().__init__(file=getattr(stream, "unguarded", stream), width=width, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object as segments of harmless text."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control or text == "\n" or text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(same_width, text.split("\n"))), style)
