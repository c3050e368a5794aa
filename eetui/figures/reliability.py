"""Figure: what the signal of each exit claims against what is found, as Inspect and `eetui quality` judge it."""

from typing import TYPE_CHECKING

from core.analysis.exit_quality import IN_NATS, signal_reliability
from core.analysis.reliability import Reliability
from core.analysis.run_quality import signal_meaning
from core.analysis.stored_run import exiting_tokens, stored_run
from core.errors import UsageError
from core.store.reader import Reader
from eetui.drawing.axes import LINEAR
from eetui.drawing.formats import file_stem
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot, panel_grid
from eetui.figures.style import COLOURS, INK, QUIET, value_axis
from eetui.inspection.exit_quality_text import FOUND_OF, ORDER_ONLY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = ("block", "tokens", "claimed", "found", "gap")


def reliability_plot(reader: Reader, run: int) -> Plot:
    """Return the figure of a run.

    Raises:
        RunLookupError: there is no such run.
        UsageError: it keeps no statistics of its tokens, has no exit, or its signal claims an order only.
        ConfigError: its signal claims a gain, and the user's own method that knows which is gone or has changed.
    """
    stored = stored_run(reader, run)
    table, meaning = exiting_tokens(reader, stored), signal_meaning(stored)
    judged = {block: signal_reliability(table, block, meaning) for block in range(table.exits)}
    diagrams = {block: each for block, each in judged.items() if each is not None}
    if not diagrams:
        raise UsageError(f"{stored.name}: the {ORDER_ONLY} ({stored.config.method_name}), so nothing can come true")
    found_name, in_nats = FOUND_OF[meaning.claims], meaning.claims in IN_NATS

    def draw(figure: "Figure") -> None:
        rows, columns = panel_grid(len(diagrams), figure.get_figwidth() * 2.54)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, (block, diagram) in zip(panels, diagrams.items(), strict=False):
            _panel(panel, block, diagram, found_name, "claimed gain, nats" if in_nats else "signal")
        for panel in panels[len(diagrams) :]:
            panel.set_visible(False)

    def height(width: float) -> float:
        rows, columns = panel_grid(len(diagrams), width)
        return 0.4 + rows * min(6.0, 0.5 + width / columns * (0.85 if columns > 1 else 0.62))

    return Plot(
        name=f"reliability-{file_stem(stored.name)}",
        title=f"{one_line(stored.name)}: what the exit signal claims against what is found",
        caption=(
            "What each exit's signal claims against what is found, over groups of equally many tokens; on the dashed "
            "line claims come true. ECE: mean gap over all tokens."
        ),
        heads=HEADS,
        rows=[
            (block, int(count), float(claimed), float(found), float(found - claimed))
            for block, each in diagrams.items()
            for count, claimed, found in zip(each.counts, each.claimed, each.found, strict=True)
        ],
        height=height,
        draw=draw,
    )


def _panel(axes: "Axes", block: int, diagram: Reliability, found_name: str, claimed_name: str) -> None:
    claimed, found = diagram.claimed, diagram.found
    low, high = float(min(claimed.min(), found.min())), float(max(claimed.max(), found.max()))
    room = 0.06 * (high - low) or 0.01
    axes.plot([low, high], [low, high], color=QUIET, linestyle=(0, (4, 2)), linewidth=0.8)
    axes.vlines(claimed, claimed, found, color=COLOURS[1], linewidth=1.6, alpha=0.7)
    axes.plot(claimed, found, color=COLOURS[0], marker="o", markeredgecolor=INK, markeredgewidth=0.4)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_title(f"exit {block}   ECE {diagram.error:.4f}", loc="left")
    axes.set_xlabel(claimed_name)
    axes.set_ylabel(f"found: {found_name}")
    value_axis(axes, "x", LINEAR, 4)
    value_axis(axes, "y", LINEAR, 4)
