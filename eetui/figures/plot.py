"""A figure before it is drawn: its name, its numbers, and what draws it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eetui.drawing.formats import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, TEXT = 8.3, 17.0
"""Width in cm of a column, and of the text, of a paper in two columns (A4 or letter)."""


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure before it is drawn.

    Attributes:
        name: stem of its file.
        title: what it shows, in a line, for readers who don't see it.
        caption: what its signs mean.
        heads, rows: its numbers, unrounded.
        height: height in cm at a width in cm.
        draw: draws on an empty figure of that size.
        left_out: what it lacks, and why, which its caption says too.
    """

    name: str
    title: str
    caption: str
    heads: Sequence[str]
    rows: Iterable[Sequence[object]] = field(repr=False)
    height: Callable[[float], float]
    draw: "Callable[[Figure], None]"
    left_out: tuple[str, ...] = ()

    def csv(self) -> str:
        """Write its numbers as CSV; what is missing is empty."""
        return csv_text([self.heads, *(["" if cell is None else cell for cell in row] for row in self.rows)])


def panel_grid(count: int, width: float) -> tuple[int, int]:
    """Return rows and columns of panels that are at least 4 cm wide, 4 columns at most."""
    columns = min(count, max(1, min(4, int(width // 4))))
    return -(-count // columns), columns
