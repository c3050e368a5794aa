"""Figure: the combinations of a sweep by FLOP savings and PPL, and the front of those that none beats in both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from core.errors import UsageError
from core.sweeps.combinations import Combination, title
from core.sweeps.purposes import FrontPoint, savings_front
from eetui.drawing.axes import PPL, SHARE
from eetui.drawing.formats import file_stem
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot
from eetui.figures.points import nats_around, nats_of
from eetui.figures.style import COLOURS, INK, QUIET, legend_above, name_of, value_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADS = ("combination", "values", "flop_savings", "flop_savings_deviation", "ppl", "ppl_deviation", "on_front")
MOST_LABELLED = 8
"""Number of points on the front up to which their values stand beside them; of more, their numbers in the CSV."""


def front_plot(name: str, found: Sequence[Combination]) -> Plot:
    """Return the figure of a sweep.

    Raises:
        UsageError: no combination has both figures.
    """
    points = savings_front(found)
    if not points:
        raise UsageError(f"{one_line(name)} has no front: no run of it has finished with a PPL and FLOP savings")
    titles = {one.point: one_line(title(one)) for one in found}
    return Plot(
        name=f"front-{file_stem(name)}",
        title=f"{one_line(name)}: perplexity against FLOPs saved",
        caption=(
            "Each sign is a combination of the sweep's values, mean over its seeds, bars ± one standard deviation. "
            "Filled and joined: the front, which no other combination beats in both perplexity and FLOPs saved."
        ),
        heads=HEADS,
        rows=list(_rows(points, titles)),
        height=lambda width: min(9.0, 1.0 + 0.66 * width),
        draw=lambda figure: _draw(figure, points, titles),
    )


def _draw(figure: "Figure", points: Sequence[FrontPoint], titles: Mapping[int, str]) -> None:
    axes = figure.subplots()
    front = [point for point in points if point.on_front]
    line = axes.plot(
        [point.savings.mean for point in front], [nats_of(point.ppl) for point in front],
        color=COLOURS[0], linewidth=1.0, marker="o", markersize=4.5, markeredgecolor=INK, markeredgewidth=0.4, zorder=3,
    )[0]  # fmt: skip
    others = [point for point in points if not point.on_front]
    dots = axes.plot(
        [point.savings.mean for point in others], [nats_of(point.ppl) for point in others],
        color=QUIET, linestyle="none", marker="o", markersize=3.5, markerfacecolor="white", markeredgewidth=0.8,
    )[0]  # fmt: skip
    for point in points:
        if point.ppl.deviation is not None or point.savings.deviation is not None:
            axes.errorbar(
                point.savings.mean, nats_of(point.ppl), nats_around(point.ppl), point.savings.deviation,
                color=COLOURS[0] if point.on_front else QUIET, linestyle="none", elinewidth=0.6, zorder=1,
            )  # fmt: skip
    for point in front:
        text = titles[point.point] if len(front) <= MOST_LABELLED else str(point.point)
        axes.annotate(
            name_of(text), (point.savings.mean, nats_of(point.ppl)), (4, -3), textcoords="offset points",
            ha="left", va="top", fontsize="x-small",
        )  # fmt: skip
    axes.set_xlabel("FLOPs saved")
    axes.set_ylabel("PPL, evaluation split")
    axes.margins(x=0.16, y=0.14)
    value_axis(axes, "x", SHARE)
    value_axis(axes, "y", PPL, 6)
    entries = [(line, "on the front"), *([(dots, "other combinations")] if others else [])]
    legend_above(figure, [handle for handle, _ in entries], [text for _, text in entries])


def _rows(points: Sequence[FrontPoint], titles: Mapping[int, str]) -> Iterator[tuple[object, ...]]:
    for point in points:
        savings, ppl = point.savings, point.ppl
        figures = (savings.mean, savings.deviation, ppl.mean, ppl.deviation)
        yield point.point, titles[point.point], *figures, int(point.on_front)
