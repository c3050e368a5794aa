"""The console's two themes, and the hues that tell series apart.

Hues are those of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can tell apart. Each has a
sign of its own, so that no meaning depends on colour alone.
"""

from dataclasses import dataclass

from rich.style import Style
from textual.theme import Theme

THEMES = (
    Theme(
        name="eetui-dark",
        dark=True,
        primary="#56B4E9",
        secondary="#009E73",
        accent="#E69F00",
        warning="#F0C542",
        error="#E8743B",
        success="#2FBF94",
        foreground="#E4E6EB",
        background="#14171C",
        surface="#1B1F26",
        panel="#262B34",
    ),
    Theme(
        name="eetui-light",
        dark=False,
        primary="#0072B2",
        secondary="#00795A",
        accent="#B35C00",
        warning="#8A6100",
        error="#B8420B",
        success="#00795A",
        foreground="#1B1F26",
        background="#FAFAF7",
        surface="#F0F0EC",
        panel="#E2E3DE",
    ),
)


@dataclass(frozen=True)
class Hue:
    """A colour for dark and for light screens, and its sign."""

    dark: str
    light: str
    sign: str

    def on(self, dark: bool) -> str:
        """Return the colour for a dark or a light screen."""
        return self.dark if dark else self.light


HUES = (
    Hue("#56B4E9", "#0072B2", "●"),
    Hue("#E69F00", "#B35C00", "▲"),
    Hue("#2FBF94", "#00795A", "■"),
    Hue("#CC79A7", "#A3447B", "◆"),
    Hue("#F0E442", "#7A6A00", "✚"),
    Hue("#E8743B", "#B8420B", "▼"),
)


def hue(index: int) -> Hue:
    """Return the hue of the n-th series or block; hues repeat after six."""
    return HUES[index % len(HUES)]


BLOCK_MARKS = ("", "underline", "italic", "underline italic", "overline", "overline italic")
"""Text attributes that mark each block's tokens without colour."""

MARK_NAMES = {"": "plain", "underline": "underlined", "underline italic": "underlined italic"}


def block_style(block: int, *, dark: bool) -> Style:
    """Return the style of tokens that leave at a block: its colour and its text attribute."""
    return Style.parse(f"{BLOCK_MARKS[block % len(BLOCK_MARKS)]} {hue(block).on(dark)}")
