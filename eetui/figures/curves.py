"""Figure: the loss on the early-stopping split after each epoch, a panel for each block, as Compare draws it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.formulas import perplexity
from eetui.compare.charts import blocks_with_curves
from eetui.compare.comparison import Comparison
from eetui.compare.run_view import TOGETHER, curve_name
from eetui.drawing.axes import LINEAR, PPL, WHOLE
from eetui.figures.plot import Plot, panel_grid
from eetui.figures.style import band, legend_above, look, value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LATER = " Later blocks are trained on the hard tokens of their own run, so their curves are of different tokens."
HEADS = ("run", "seeds", "block", "epoch", "loss", "deviation", "ppl")


def curves_plot(comparison: Comparison, *, as_ppl: bool = False) -> Plot:
    """Return the figure.

    Raises:
        UsageError: no run has trained an epoch.
    """
    blocks = blocks_with_curves(comparison)
    if not blocks:
        raise UsageError("none of these runs trained a block with early stopping")

    def draw(figure: "Figure") -> None:
        rows, columns = panel_grid(len(blocks), figure.get_figwidth() * 2.54)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        lines = dict[int, "Line2D"]()
        for panel, block in zip(panels, blocks, strict=False):
            lines |= _panel(panel, comparison, block, as_ppl=as_ppl)
        for panel in panels[len(blocks) :]:
            panel.set_visible(False)
        shown = sorted(lines)
        legend_above(figure, [lines[index] for index in shown], [comparison.columns[index].title for index in shown])

    def height(width: float) -> float:
        rows, columns = panel_grid(len(blocks), width)
        return 0.9 + rows * max(3.4, min(5.5, 0.72 * width / columns))

    return Plot(
        name="curves",
        title="Loss on the early-stopping split by epoch",
        caption=(
            "Loss on the early-stopping split after each epoch. Of several seeds the mean; the band is ± one standard "
            "deviation." + LATER * any(block > 0 for block in blocks)
        ),
        heads=HEADS,
        rows=list(_rows(comparison, blocks)),
        height=height,
        draw=draw,
    )


def _panel(axes: "Axes", comparison: Comparison, block: int, *, as_ppl: bool) -> "dict[int, Line2D]":
    """Draw the curves of a block, and return the line of each column that has one."""
    lines = dict[int, "Line2D"]()
    for index, column in enumerate(comparison.columns):
        curve = column.curve(block)
        if not curve:
            continue
        style, epochs = look(index), list(curve)
        means = [value.mean for value in curve.values()]
        every = max(1, len(curve) // 8)
        (lines[index],) = axes.plot(
            epochs, means, color=style.colour, linestyle=style.dashes, marker=style.marker, markevery=every
        )
        band(axes, epochs, means, [value.deviation for value in curve.values()], style)
    axes.set_title(curve_name(block), loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel("PPL" if as_ppl else "loss, nats")
    value_axis(axes, "x", WHOLE)
    value_axis(axes, "y", PPL if as_ppl else LINEAR)
    return lines


def _rows(comparison: Comparison, blocks: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    for block in blocks:
        for column in comparison.columns:
            for epoch, value in column.curve(block).items():
                seeds = len(column.runs)
                ppl = perplexity(value.mean)
                yield (
                    column.exact_title,
                    seeds,
                    "all" if block == TOGETHER else block,
                    epoch,
                    value.mean,
                    value.deviation,
                    ppl,
                )
