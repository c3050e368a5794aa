"""Figure: where a run's perplexity went, from training to early exit, as `eetui diagnose` and Inspect tell it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.analysis.diagnose_run import diagnosis_steps
from core.analysis.diagnosis import Waterfall, WaterfallStep
from core.formulas import perplexity
from core.store.reader import Reader
from eetui.drawing.axes import LINEAR
from eetui.drawing.formats import file_stem
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot
from eetui.figures.style import BETTER, INK, QUIET, SMALLEST, WORSE, value_axis
from eetui.inspection.diagnosis_text import WORKED_OUT, ends_of, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = ("step", "block", "before", "after", "nats", "low", "high", "worked_out", "ppl")
ROW = 0.48
"""Height of a step in cm."""
NAMES, FIGURES = 3.9, 2.1
"""Widths in cm of the steps' names and of the longest figures beside the bars."""


def waterfall_plot(reader: Reader, run: int) -> Plot:
    """Return the figure of a run.

    Raises:
        RunLookupError, UsageError, ConfigError: as for `core.analysis.diagnose_run.diagnose_run`.
    """
    found = next(diagnosis_steps(reader, run))  # the part that needs no model
    waterfall, moved, ends = found.diagnosis.waterfall, found.diagnosis.moved, ends_of(found.config)
    return Plot(
        name=f"waterfall-{file_stem(found.name)}",
        title=f"{one_line(found.name)}: loss from training to early exit",
        caption=(
            "Loss in nats from training to early exit, one change at a time. Hatched: the loss rises. Thin bars: 95% "
            f"interval of the change over windows. {WORKED_OUT} worked out from tokens that went through every block; "
            "the others are measured."
        ),
        heads=HEADS,
        rows=list(_rows(waterfall, ends, moved=moved)),
        height=lambda width: 1.1 + ROW * (len(waterfall.steps) + 2),
        draw=lambda figure: _draw(figure, waterfall, ends, moved=moved),
    )


def _draw(figure: "Figure", waterfall: Waterfall, ends: tuple[str, str], *, moved: bool) -> None:
    axes = figure.subplots()
    names = [ends[0], *(_name(step, moved=moved) for step in waterfall.steps), ends[1]]
    _level(axes, 0, waterfall.start, f"{waterfall.start:.4f}")
    for place, step in enumerate(waterfall.steps, start=1):
        _step(axes, place, step)
    last = len(names) - 1
    _level(axes, last, waterfall.end, f"{waterfall.end:.4f} ({waterfall.total:+z.4f})")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(last + 0.6, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("loss, nats")
    _make_room(axes, waterfall, figure.get_figwidth() * 2.54)
    value_axis(axes, "x", LINEAR, 4)


def _step(axes: "Axes", place: int, step: WaterfallStep) -> None:
    worse = step.nats > 0
    axes.barh(
        place, step.nats, 0.62, step.before, color=WORSE if worse else BETTER, edgecolor=INK, linewidth=0.4,
        hatch="////" if worse else None, alpha=0.85,
    )  # fmt: skip
    axes.plot([step.before] * 2, [place - 1, place], color=QUIET, linewidth=0.5, zorder=0)
    right = max(step.before, step.after)
    if step.interval is not None:
        low, high = (step.before + each for each in step.interval)
        axes.plot([low, high], [place, place], color=INK, linewidth=0.9, marker="|", markersize=4)
        right = max(right, high)
    axes.annotate(
        f"{step.nats:+z.4f}", (right, place), (4, 0), textcoords="offset points", va="center", fontsize=SMALLEST
    )


def _level(axes: "Axes", place: int, loss: float, text: str) -> None:
    axes.plot([loss], [place], color=INK, marker="D", markersize=3.5)
    axes.annotate(text, (loss, place), (5, 0), textcoords="offset points", va="center", fontsize=SMALLEST)


def _make_room(axes: "Axes", waterfall: Waterfall, centimetres: float) -> None:
    """Widen the x axis to the right, so that figures beside the bars fit into a figure of that width."""
    levels = [*waterfall.levels]
    levels += [step.before + end for step in waterfall.steps for end in step.interval or ()]
    width = max(levels) - min(levels) or 1e-3
    bars = max(centimetres - NAMES - FIGURES, 0.3)
    axes.set_xlim(min(levels) - 0.06 * width, max(levels) + FIGURES / bars * width)


def _name(step: WaterfallStep, *, moved: bool) -> str:
    return f"{title(step, moved=moved)}{f' {WORKED_OUT}' if step.worked_out else ''}"


def _rows(waterfall: Waterfall, ends: tuple[str, str], *, moved: bool) -> Iterator[tuple[object, ...]]:
    yield ends[0], None, None, waterfall.start, None, None, None, 0, perplexity(waterfall.start)
    for step in waterfall.steps:
        low, high = step.interval or (None, None)
        figures = (step.before, step.after, step.nats, low, high)
        yield title(step, moved=moved), step.block, *figures, int(step.worked_out), perplexity(step.after)
    yield ends[1], None, waterfall.start, waterfall.end, waterfall.total, None, None, 0, perplexity(waterfall.end)
