"""The look of figures: fonts, colours that colour-blind readers can tell apart, and signs that grey print keeps apart.

Colours are those of Okabe and Ito ("Color Universal Design", 2008) without yellow, which is too light on paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eetui.drawing.axes import Axis
from eetui.drawing.series import mean_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1b1b"
"""Colour of text and axes; a page with a dark side exchanges it."""
QUIET = "#6e6e6e"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "^", "s", "D", "P", "v", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 1, 1, 1, 1, 1)))
WORSE, BETTER = "#D55E00", "#0072B2"
MOST_NAMED = 12
"""Number of entries of a legend."""
SMALLEST = 6
"""Points of the smallest letters."""
LONGEST_NAME = 48
"""Characters of a name in a figure."""
RC: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "text.parse_math": False,  # names are no formulas
    "text.usetex": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#b8b8b8",
    "grid.alpha": 0.45,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.1,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "svg.fonttype": "none",
    "svg.hashsalt": "eetui",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "savefig.dpi": 300,
    "savefig.transparent": False,
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of a series."""

    colour: str
    marker: str
    dashes: Any


def look(index: int) -> Look:
    """Return the look of the n-th series; none of the first 42 is like another."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)])


def name_of(text: str) -> str:
    """Shorten a name for a figure."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def band(axes: "Axes", x: Sequence[float], mean: Sequence[float], deviation: Sequence[float | None], of: Look) -> None:
    """Draw the band of a mean ± its deviation in a series' colour, where it is known."""
    for each in mean_band(x, mean, deviation, 0):
        axes.fill_between(each.x, each.y, each.upper, color=of.colour, alpha=0.18, linewidth=0)


def legend_above(figure: "Figure", handles: Sequence[Any], names: Sequence[str], signs: int = 0) -> None:
    """Put a legend above all panels, as wide as the figure, in as few lines as its names need.

    Args:
        signs: number of entries at the end that are there however many come before them.
    """
    if not handles:
        return
    names = [name_of(name) for name in names]
    if more := len(names) - MOST_NAMED:
        if more > 0:
            first, last = MOST_NAMED - signs, len(names) - signs
            names = [*names[:first], f"and {more} more", *names[last:]]
            handles = [*handles[:first], _nothing(), *handles[last:]]
    room = figure.get_figwidth() * 72  # points
    widest = max(map(len, names)) * 3.4 + 26
    figure.legend(handles, names, loc="outside upper center", ncols=max(1, min(len(names), int(room // widest))))


def value_axis(axes: "Axes", which: str, axis: Axis, count: int = 5) -> None:
    """Write an axis' ticks as the screens do; call it when all is drawn."""
    low, high = axes.get_ylim() if which == "y" else axes.get_xlim()
    ticks = axis.ticks(low, high, count)
    if which == "y":
        axes.set_yticks(ticks, axis.labels(ticks))
        axes.set_ylim(low, high)
    else:
        axes.set_xticks(ticks, axis.labels(ticks))
        axes.set_xlim(low, high)


def _nothing() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")
