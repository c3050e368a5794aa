"""What a terminal would show of something, as plain text."""

from rich.console import Console, RenderableType


def plain_text(shown: RenderableType, width: int = 100) -> str:
    """Its lines, in a terminal of that width."""
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def plain_words(shown: RenderableType, width: int = 100) -> str:
    """Its words, whatever the lines."""
    return " ".join(plain_text(shown, width).split())
