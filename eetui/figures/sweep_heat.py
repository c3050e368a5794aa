"""Figure: a sweep's heat table, a metric over two of the fields that it varies."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.sweeps.heat import HeatCell, HeatTable
from eetui.drawing.figures import figure as written
from eetui.drawing.formats import file_stem
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot
from eetui.figures.style import INK, name_of
from eetui.figures.token_map import BLACK, between
from eetui.summary.sweep_views_text import word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = ("row", "column", "metric", "mean", "deviation", "finished", "runs", "leads", "combinations")
ROW = 0.62
"""Height of a row in cm."""
EMPTY = "#ececec"


def heat_plot(name: str, heat: HeatTable | None) -> Plot:
    """Return the figure of a sweep.

    Raises:
        UsageError: there is no table.
    """
    if heat is None:
        raise UsageError(f"{one_line(name)} has no heat table: it varies nothing, or no run of it has finished")
    averaged = f" Averaged over {', '.join(map(one_line, heat.averaged))}." if heat.averaged else ""
    return Plot(
        name=f"heat-{file_stem(name)}",
        title=f"{one_line(name)}: {heat.metric.label}",
        caption=(
            f"{heat.metric.label}, mean over runs; the darker, the better the rank among the cells. Bold: the best, "
            f"and those that are not known to be worse.{averaged}"
        ),
        heads=HEADS,
        rows=list(_rows(heat)),
        height=lambda width: 1.3 + ROW * max(3, len(heat.rows.labels)),
        draw=lambda figure: _draw(figure, heat),
    )


def _draw(figure: "Figure", heat: HeatTable) -> None:
    axes = figure.subplots()
    for row, cells in enumerate(heat.cells):
        for column, cell in enumerate(cells):
            _cell(axes, row, column, cell, heat)
    axes.set_xlim(-0.5, len(heat.columns.labels) - 0.5)
    axes.set_ylim(len(heat.rows.labels) - 0.5, -0.5)
    axes.set_xticks(range(len(heat.columns.labels)), [name_of(one_line(label)) for label in heat.columns.labels])
    axes.set_yticks(range(len(heat.rows.labels)), [name_of(one_line(label)) for label in heat.rows.labels])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(word(heat.columns.name))
    axes.set_ylabel(word(heat.rows.name))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(heat.metric.label, loc="left", color=INK)


def _cell(axes: "Axes", row: int, column: int, cell: HeatCell | None, heat: HeatTable) -> None:
    from matplotlib.patches import Rectangle

    colour = EMPTY if cell is None or cell.warmth is None else between(cell.warmth)
    axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=colour, linewidth=0))
    if cell is not None:
        text = written(cell.value, heat.metric.unit).replace(" ± ", "\n± " if len(heat.columns.labels) > 3 else " ± ")
        weight = "bold" if cell.leads else "normal"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, fontweight=weight, color=BLACK)


def _rows(heat: HeatTable) -> Iterator[tuple[object, ...]]:
    for row, cells in zip(heat.rows.labels, heat.cells, strict=True):
        for column, cell in zip(heat.columns.labels, cells, strict=True):
            if cell is not None:
                mean, deviation = (None, None) if cell.value is None else (cell.value.mean, cell.value.deviation)
                points = " ".join(map(str, cell.points))
                state = (cell.finished, cell.runs, int(cell.leads), points)
                yield one_line(row), one_line(column), heat.metric.key, mean, deviation, *state
