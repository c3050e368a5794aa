"""Figure: the loss on the early-stopping split after each epoch, a panel for each block, as Compare draws it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.formulas import perplexity
from eetui.compare.charts import blocks_with_curves
from eetui.compare.comparison import Comparison
from eetui.drawing.axes import LINEAR, PPL, WHOLE
from eetui.figures.plot import Plot, panel_grid
from eetui.figures.style import legend_above, look, value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = ("run", "seeds", "block", "epoch", "loss", "deviation", "ppl")


def curves_plot(comparison: Comparison, *, as_ppl: bool = False) -> Plot:
    """Return the figure.

    Raises:
        UsageError: no run has trained an epoch.
    """
    blocks = blocks_with_curves(comparison)
    if not blocks:
        raise UsageError("no curves: none of these runs trained a block with early stopping")

    def draw(figure: "Figure") -> None:
        rows, columns = panel_grid(len(blocks), figure.get_figwidth() * 2.54)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, block in zip(panels, blocks, strict=False):
            _panel(panel, comparison, block, as_ppl=as_ppl)
        for panel in panels[len(blocks) :]:
            panel.set_visible(False)
        drawn = {name: line for panel in panels for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
        legend_above(figure, list(drawn.values()), list(drawn))

    def height(width: float) -> float:
        rows, columns = panel_grid(len(blocks), width)
        return 0.9 + rows * max(3.4, min(5.5, 0.72 * width / columns))

    return Plot(
        name="curves",
        title="Loss on the early-stopping split by epoch",
        caption=(
            "Loss on the early-stopping split after each epoch. Of several seeds the mean; the band is ± one standard "
            "deviation. Later blocks are trained on the hard tokens of their own run, so their curves are of different "
            "tokens."
        ),
        heads=HEADS,
        rows=list(_rows(comparison, blocks)),
        height=height,
        draw=draw,
    )


def _panel(axes: "Axes", comparison: Comparison, block: int, *, as_ppl: bool) -> None:
    for index, column in enumerate(comparison.columns):
        curve = column.curve(block)
        if not curve:
            continue
        style, epochs = look(index), range(1, len(curve) + 1)
        means = [value.mean for value in curve]
        every = max(1, len(curve) // 8)
        axes.plot(
            epochs, means, color=style.colour, linestyle=style.dashes, marker=style.marker, markevery=every,
            label=column.title,
        )  # fmt: skip
        if any(value.deviation is not None for value in curve):
            spread = [value.deviation or 0.0 for value in curve]
            low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(epochs, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axes.set_title(f"block {block}", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel("PPL" if as_ppl else "loss, nats")
    value_axis(axes, "x", WHOLE)
    value_axis(axes, "y", PPL if as_ppl else LINEAR)


def _rows(comparison: Comparison, blocks: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    for block in blocks:
        for column in comparison.columns:
            for epoch, value in enumerate(column.curve(block), start=1):
                seeds = len(column.runs)
                ppl = perplexity(value.mean)
                yield column.exact_title, seeds, block, epoch, value.mean, value.deviation, ppl
