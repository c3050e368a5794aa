"""textual-plot's widget as the chart uses it: the chart passes in a drawing and gets its mouse events."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from textual.app import ComposeResult
from textual.color import Color
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual_hires_canvas import Canvas
from textual_plot import AxisFormatter, HiResMode, PlotWidget

from eetui.drawing.axes import Axis, Range
from eetui.drawing.series import Series
from eetui.drawing.themes import hue

MARGIN_LEFT = 9
"""Cells left of the y axis."""
BEHIND = ("faint", "behind")
AT_EDGE = 0.03
"""Share of the x range at its right end in which a tick has no room for half a label."""
"""Styles drawn before all others."""
HIRES = {"line": HiResMode.BRAILLE, "marked": HiResMode.BRAILLE, "thick": HiResMode.QUADRANT}


@dataclass
class Drawing:
    """The content of a view: reduced series, and the range of both axes."""

    x: Range
    y: Range
    series: list[Series] = field(default_factory=list)
    x_ticks: int = 5
    y_ticks: int = 5


class Ticks(AxisFormatter):
    """Adapts an `Axis` to textual-plot."""

    def __init__(self, axis: Axis, count: int) -> None:
        self.axis, self.count = axis, count

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return self.axis.ticks(min_, max_, self.count)

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return self.axis.labels(ticks)


class XTicks(Ticks):
    """Ticks of the x axis, with the last label moved left by a cell where it would lose its end at the right edge."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        self.edge = max_ - AT_EDGE * (max_ - min_)
        return super().get_ticks(min_, max_, max_ticks)

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        *labels, last = super().get_labels_for_ticks(ticks) or [""]
        loses = ticks and ticks[-1] > self.edge and len(last) % 2 == 0  # an even one stands half a cell to the right
        return [*labels, f"{last} " if loses else last]


class StyledCanvas(Canvas):
    """The canvas without what has no style: Textual's filters, such as that of NO_COLOR, fail on it."""

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        return strip if strip.cell_length else Strip([], 0)


class Plot(PlotWidget, can_focus=False, inherit_bindings=False):
    """textual-plot's widget; limits come from the chart, mouse events go to it."""

    @dataclass
    class Zoomed(Message):
        """The mouse zoomed about a point; an axis that is not zoomed has None."""

        factor: float
        at: tuple[float | None, float | None]

    @dataclass
    class Panned(Message):
        """The mouse dragged by that many cells."""

        columns: float
        rows: float

    margin_top = reactive(0)
    margin_bottom = reactive(1)
    margin_left = reactive(MARGIN_LEFT)
    seconds = 0.0
    """Time of the last redraw."""

    def compose(self) -> ComposeResult:
        """Compose the same as textual-plot does, of canvases whose every cell has a style."""
        for widget in super().compose():
            yield StyledCanvas(1, 1, id=widget.id) if isinstance(widget, Canvas) else widget

    @property
    def canvas(self) -> Canvas:
        return self.query_one("#plot", Canvas)

    def _zoom(self, center_x: float, center_y: float, factor: float, zoom_x: bool, zoom_y: bool) -> None:
        self.post_message(
            self.Zoomed(1 / (1 + factor), (center_x if zoom_x else None, center_y if zoom_y and not zoom_x else None))
        )

    def _pan(self, factor_x: float, factor_y: float) -> None:
        self.post_message(self.Panned(factor_x, factor_y))

    def _render_plot(self) -> None:
        """Draw with a single refresh of the canvas instead of one for each pixel."""
        if self.is_mounted and self._scale_rectangle.width > 2 and self._scale_rectangle.height > 1:
            began = time.monotonic()
            with self.canvas.batch_refresh():
                super()._render_plot()
            self.seconds = time.monotonic() - began

    def draw(self, drawing: Drawing, axes: tuple[Axis, Axis], dark: bool, background: Color) -> None:
        """Replace what is shown."""
        self.clear()
        self.set_xlimits(*drawing.x)
        self.set_ylimits(*drawing.y)
        self.set_x_formatter(XTicks(axes[0], drawing.x_ticks))
        self.set_y_formatter(Ticks(axes[1], drawing.y_ticks))
        for series in sorted(drawing.series, key=lambda one: one.style not in BEHIND):
            self._add(series, dark, background)

    def _add(self, series: Series, dark: bool, background: Color) -> None:
        colour, x, y = hue(series.hue).on(dark), series.x, series.y
        if series.style in BEHIND:
            self.scatter(
                x, y, marker_style=Color.parse(colour).blend(background, 0.5).hex, hires_mode=HiResMode.BRAILLE
            )
        if series.style in HIRES:
            self.plot(x, y, line_style=colour, hires_mode=HIRES[series.style])
        if series.style in ("marked", "scatter"):
            self.scatter(x, y, marker=series.marker or hue(series.hue).sign, marker_style=f"bold {colour}")
