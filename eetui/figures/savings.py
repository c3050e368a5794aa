"""Figure: quality against layer savings, as Compare's savings view draws it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from core.errors import UsageError
from core.formulas import perplexity
from core.metrics import Value
from eetui.compare.charts import Point, points
from eetui.compare.comparison import Comparison
from eetui.compare.savings_curves import Furthest, SavingsCurve, Tried, column_curves
from eetui.compare.savings_gaps import better_before, curve_notes, curve_title
from eetui.drawing.axes import PPL, SHARE
from eetui.figures.plot import Plot
from eetui.figures.points import nats_around, nats_of
from eetui.figures.style import INK, band, legend_above, look, value_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = (
    "run", "seeds", "what", "savings", "savings_deviation", "loss", "loss_deviation", "ppl", "ppl_deviation",
    "loss_low", "loss_high",
)  # fmt: skip
STATIC, RATE, PRICE, FURTHEST = "static depths", "one exit rate", "one price", "furthest below the static depths"
OF_CURVES = (STATIC, RATE, PRICE, FURTHEST)
DOTTED, DASHED = (0, (1, 1.6)), (0, (4, 1.5))


def savings_plot(comparison: Comparison, tried: Tried) -> Plot:
    """Return the figure.

    Args:
        tried: the curve of each run, or why it has none (`stored_curves`).

    Raises:
        UsageError: no run has been evaluated.
    """
    found, curves = points(comparison), column_curves(comparison, tried)
    notes = tuple(curve_notes(comparison, tried))
    if not found and not curves:
        raise UsageError("none of these runs has been evaluated")

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for index, curve in curves.items():
            _lines(axes, index, curve)
        for point in found:
            _point(axes, point)
        axes.set_xlabel("layers saved")
        axes.set_ylabel("PPL, evaluation split")
        axes.margins(x=0.04, y=0.06)
        value_axis(axes, "x", SHARE)
        value_axis(axes, "y", PPL, 6)
        _legend(figure, comparison, found, curves)

    trained = any(point.way == "as trained" for point in found)
    before = ", and blocks as they stood before later ones were trained" if trained else ""
    return Plot(
        name="savings",
        title="Perplexity against the share of the layers saved",
        caption=(
            "Perplexity (log scale) against the share of the layers saved; lower and further right is better. Filled "
            f"signs: early exit as measured; hollow ones: static depths of the same models{before}; bars and bands: ± "
            "one standard deviation over seeds. Lines are worked out from the statistics of the evaluated tokens: "
            "early exit at every price and at every exit rate, and the static line, which is static depths and "
            "mixtures of two."
            + _about_intervals(curves.values())
            + "".join(f" {each}." for each in (*notes, *better_before(comparison, tried)))
        ),
        heads=HEADS,
        rows=list(_rows(comparison, found, curves)),
        height=lambda width: min(9.5, 1.2 + 0.7 * width),
        draw=draw,
        left_out=tuple(f"{each[0].lower()}{each[1:]}" for each in notes),
    )


def _about_intervals(curves: Iterable[SavingsCurve]) -> str:
    """Say what the capped bars are, and what they do not cover."""
    found = (curve.priced.furthest for curve in curves)
    kinds = sorted({point.interval.kind for point in found if point is not None and point.interval is not None})
    if not kinds:
        return ""
    return (
        f" The capped bar is the 95% interval, over {' or '.join(kinds)}, of the difference from the static depths "
        "where one price lies furthest below them; as that is the best of many prices, it flatters a little."
    )


def _lines(axes: "Axes", index: int, curve: SavingsCurve) -> None:
    style, priced = look(index), curve.priced
    colour = style.colour
    axes.plot(curve.savings, curve.line, color=colour, linestyle=DOTTED, linewidth=1.0)
    axes.plot(curve.savings, curve.loss, color=colour, linestyle=DASHED, linewidth=0.8)
    every = max(1, len(priced.savings) // 8)
    axes.plot(
        priced.savings, priced.loss, color=colour, linewidth=1.4, marker=style.marker, markersize=2.6, markevery=every
    )
    for each in (curve, priced):
        if each.deviation:
            band(axes, each.savings, each.loss, each.deviation, style)
    at = _at_furthest(curve)
    if at is not None and at[1].interval is not None:
        loss, low, high = _ends(*at)
        reach = [[max(0.0, loss - low)], [max(0.0, high - loss)]]
        axes.errorbar(at[1].savings, loss, reach, color=colour, linewidth=0.9, capsize=2, capthick=0.9)


def _at_furthest(curve: SavingsCurve) -> tuple[float, Furthest] | None:
    """Return the loss of the priced curve where it lies furthest below the static depths, and that point."""
    point = curve.priced.furthest
    if point is None:
        return None
    return curve.priced.loss[curve.priced.savings.index(point.savings)], point


def _ends(loss: float, point: Furthest) -> tuple[float, float, float]:
    """Return a loss with the interval of its difference from the static depths around it."""
    if point.interval is None:
        return loss, math.nan, math.nan
    line = loss - point.above
    return loss, line + point.interval.low, line + point.interval.high


def _point(axes: "Axes", point: Point) -> None:
    style, early = look(point.column), point.way == "early exit"
    axes.errorbar(
        point.savings.mean, nats_of(point.ppl), nats_around(point.ppl), point.savings.deviation,
        color=style.colour, linestyle="none",
        marker=style.marker, markersize=5 if early else 4, markerfacecolor=style.colour if early else "white",
        markeredgecolor=INK if early else style.colour, markeredgewidth=0.5 if early else 0.9, elinewidth=0.7,
        zorder=4 if early else 3,
    )  # fmt: skip


def _legend(
    figure: "Figure", comparison: Comparison, found: tuple[Point, ...], curves: Mapping[int, SavingsCurve]
) -> None:
    from matplotlib.lines import Line2D

    shown = sorted({*curves, *(point.column for point in found)})

    def line(**look_of: Any) -> Line2D:
        return Line2D([], [], **{"color": INK, **look_of})

    entries: list[tuple[Line2D, str]] = []
    for index in shown:
        style = look(index)
        mark = line(color=style.colour, marker=style.marker, linestyle="none", markeredgecolor=INK, markeredgewidth=0.5)
        entries.append((mark, curve_title(comparison.columns[index], curves.get(index))))
    if any(point.way != "early exit" for point in found):
        hollow = line(marker="o", linestyle="none", markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.9)
        entries.append((hollow, "static depth"))
    if curves:
        entries += [
            (line(linewidth=1.4), PRICE), (line(linestyle=DASHED, linewidth=0.8), RATE),
            (line(linestyle=DOTTED, linewidth=1.0), "static line"),
        ]  # fmt: skip
    signs = len(entries) - len(shown)
    legend_above(figure, [handle for handle, _ in entries], [name for _, name in entries], signs)


def _rows(
    comparison: Comparison, found: tuple[Point, ...], curves: Mapping[int, SavingsCurve]
) -> Iterator[tuple[object, ...]]:
    def row(index: int, what: str, savings: Value, loss: Value, ppl: Value, *ends: float | None) -> tuple[object, ...]:
        column = comparison.columns[index]
        seeds = curves[index].seeds if what in OF_CURVES else len(column.runs)
        head = (column.exact_title, seeds, what, savings.mean, savings.deviation)
        return *head, loss.mean, loss.deviation, ppl.mean, ppl.deviation, *(ends or (None, None))

    for point in found:
        yield row(point.column, point.name, point.savings, Value(nats_of(point.ppl)), point.ppl)
    for index, curve in curves.items():
        for what, saved, loss in _points_of(curve):
            yield row(index, what, Value(saved), loss, Value(perplexity(loss.mean)))
        if (at := _at_furthest(curve)) is not None:
            mean, low, high = _ends(*at)
            ends = (None, None) if at[1].interval is None else (low, high)
            yield row(index, FURTHEST, Value(at[1].savings), Value(mean), Value(perplexity(mean)), *ends)


def _points_of(curve: SavingsCurve) -> Iterator[tuple[str, float, Value]]:
    """Yield the points of the lines of a curve: which line, its savings, its loss with the deviation over seeds."""
    yield from ((STATIC, saved, Value(loss)) for saved, loss in zip(curve.savings, curve.line, strict=True))
    for what, each in ((RATE, curve), (PRICE, curve.priced)):
        deviation = each.deviation or (None,) * len(each.loss)
        for saved, loss, spread in zip(each.savings, each.loss, deviation, strict=True):
            yield what, saved, Value(loss, spread)
