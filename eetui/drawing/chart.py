"""The console's chart: series over a common x axis, with zoom and pan, and a limit on how often it is redrawn.

It imports numpy and textual-plot, so screens import this module when they are composed, not when they are imported.

    chart = Chart("loss, nats", x_label="epoch", x_axis=WHOLE)
    chart.set_series([Series("train", x, y, hue=0), Series("val", x2, y2, hue=1, style="marked")])
    chart.set_axes(y_axis=PPL, title="PPL")            # LINEAR, WHOLE, SHARE, PPL of eetui.drawing.axes
    chart.follow()                                     # the newest point; chart.reset() shows everything

Series ascend in x, except those of style `scatter`. They may hold many points: they are reduced to the columns of the
canvas before drawing. A chart too small for curves shows a sentence with the newest values instead: one made from the
series, or the `sentence` given with them.
"""

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from eetui.drawing.axes import LINEAR, Axis, Range, View, latest, legend
from eetui.drawing.plot import MARGIN_LEFT, Drawing, Plot
from eetui.drawing.series import Series, fill, reduce_to_columns, resample

__all__ = ["Chart", "Series"]

SECONDS_BETWEEN = 1.0
"""Shortest time between two redraws."""
SHARE_OF_TIME = 0.05
"""Largest share of the time spent drawing: after a slow redraw, the next one waits longer."""
FEWEST_COLUMNS, FEWEST_ROWS = 20, 4
"""Smallest canvas on which curves are drawn; on a smaller one a sentence says more."""
DOTS_A_COLUMN, DOTS_A_ROW = 2, 4
"""Dots of a band across and down a cell of the canvas."""
ZOOM, PAN = 0.7, 0.2
"""Factor of the x range for one zoom step, and share of a range for one step of panning."""


class Chart(Widget, can_focus=True):
    """Curves with a legend, or a sentence where curves don't fit."""

    DEFAULT_CSS = """
    Chart { height: 1fr; min-height: 1; }
    Chart > .chart--head { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: clip; }
    Chart > .chart--words { height: 1fr; color: $text-muted; }
    Chart > Plot { height: 1fr; }
    Chart > Plot > .plot--axis, Chart > Plot:focus > .plot--axis { color: $foreground 35%; }
    Chart > Plot > .plot--tick { color: $foreground 70%; text-style: none; }
    Chart:focus > .chart--head { text-style: bold; }
    Chart:focus > Plot > .plot--axis { color: $primary 70%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom_in", "Zoom in", show=False, id="chart.zoom_in", tooltip="Zoom the chart in"),
        Binding("minus", "zoom_out", "Zoom out", show=False, id="chart.zoom_out", tooltip="Zoom the chart out"),
        Binding("0", "reset", "All", show=False, id="chart.reset", tooltip="Show all of the chart and follow it"),
        Binding("shift+left,less_than_sign", "pan(-1)", "Left", show=False, id="chart.left", tooltip="Chart: earlier"),
        Binding(
            "shift+right,greater_than_sign", "pan(1)", "Right", show=False, id="chart.right", tooltip="Chart: later"
        ),
        Binding("shift+up", "raise(1)", "Up", show=False, id="chart.up", tooltip="Chart: higher values"),
        Binding("shift+down", "raise(-1)", "Down", show=False, id="chart.down", tooltip="Chart: lower values"),
    ]

    def __init__(
        self,
        title: str = "",
        *,
        x_label: str = "",
        x_axis: Axis = LINEAR,
        y_axis: Axis = LINEAR,
        name: str | None = None,
        id: str | None = None,  # noqa: A002  # as every Textual widget calls it
        classes: str | None = None,
    ) -> None:
        """Create an empty chart; `title` names the y axis and its unit, `x_label` the x axis."""
        super().__init__(name=name, id=id, classes=classes)
        self.title, self.x_label, self.x_axis, self.y_axis = title, x_label, x_axis, y_axis
        self.view = View()
        self.series: tuple[Series, ...] = ()
        self.sentence = ""
        self.drawn = 0
        """Number of redraws."""
        self._shown_y: Range = (0.0, 1.0)
        self._next = 0.0
        self._due: Timer | None = None
        self._written: dict[Static, Text] = {}

    def compose(self) -> ComposeResult:
        yield Static(classes="chart--head", markup=False)
        yield Plot()
        yield Static(classes="chart--words", markup=False)

    # For screens

    def set_series(self, series: Iterable[Series], sentence: str = "") -> None:
        """Replace the series at the next redraw; `sentence` is shown where curves don't fit."""
        self.series, self.sentence = tuple(series), sentence
        self.redraw_soon()

    def set_axes(
        self,
        *,
        title: str | None = None,
        x_label: str | None = None,
        y_axis: Axis | None = None,
    ) -> None:
        """Change the axes; None leaves one as it is. Values keep their unit: `PPL` is an axis of values in nats."""
        self.title = self.title if title is None else title
        self.x_label = self.x_label if x_label is None else x_label
        self.y_axis = y_axis or self.y_axis
        self.redraw_soon()

    def follow(self) -> None:
        """Keep the newest point in view."""
        self._look(self.view.following())

    def reset(self) -> None:
        """Show everything."""
        self._look(View())

    @property
    def extent(self) -> Range:
        """First and last x of all series."""
        xs = [x for one in self.series if len(one.x) for x in (min(one.x), max(one.x))]
        return (min(xs), max(xs)) if xs else (0.0, 1.0)

    # Keys and mouse

    def action_zoom_in(self) -> None:
        self._look(self.view.zoomed(ZOOM, self.extent))

    def action_zoom_out(self) -> None:
        self._look(self.view.zoomed(1 / ZOOM, self.extent))

    def action_reset(self) -> None:
        self.reset()

    def action_pan(self, direction: int) -> None:
        self._look(self.view.panned(direction * PAN, self.extent))

    def action_raise(self, direction: int) -> None:
        self._look(self.view.raised(direction * PAN, self._shown_y))

    def on_plot_zoomed(self, event: Plot.Zoomed) -> None:
        event.stop()
        x, y = event.at
        if x is not None:
            self._look(self.view.zoomed(event.factor, self.extent, x))
        elif y is not None:
            self._look(self.view.stretched(event.factor, self._shown_y, y))

    def on_plot_panned(self, event: Plot.Panned) -> None:
        event.stop()
        width, height = self.query_one(Plot).canvas.size
        view = self.view.panned(-event.columns / max(width, 1), self.extent) if event.columns else self.view
        self._look(view.raised(event.rows / max(height, 1), self._shown_y) if event.rows else view)

    def _look(self, view: View) -> None:
        self.view = view
        self._draw()

    # Drawing

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.redraw_soon())
        self.watch(self.screen, "stack_updates", self.redraw_soon, init=False)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._draw)

    def on_show(self, event: events.Show) -> None:
        self.redraw_soon()

    def redraw_soon(self) -> None:
        """Draw now, or once enough time has passed since the last redraw."""
        if self._due is not None or not self.is_mounted:
            return
        wait = self._next - time.monotonic()
        if wait <= 0:
            self._draw()
        else:
            self._due = self.set_timer(wait, self._draw)

    def _draw(self) -> None:
        if self._due is not None:
            self._due.stop()
            self._due = None
        if not self._visible():
            return
        began = time.monotonic()
        fits = self.size.width - MARGIN_LEFT - 2 >= FEWEST_COLUMNS and self.size.height - 4 >= FEWEST_ROWS
        head, words, plot = (
            self.query_one(".chart--head", Static),
            self.query_one(".chart--words", Static),
            self.query_one(Plot),
        )
        head.display = plot.display = fits
        words.display = not fits
        if fits:
            self._draw_curves(head, plot)
        else:
            sentence = self.sentence or latest(self.title, self.series, self.y_axis, self.x_axis, self.x_label)
            self._put(words, Text(sentence))
        self.drawn += 1
        took = time.monotonic() - began + plot.seconds
        self._next = began + max(SECONDS_BETWEEN, took / SHARE_OF_TIME)

    def _put(self, place: Static, text: Text) -> None:
        """Update a text if it changed, without a new layout: its size is fixed."""
        if self._written.get(place) != text:
            self._written[place] = text
            place.update(text, layout=False)

    def _visible(self) -> bool:
        shown = all(node.display for node in self.ancestors_with_self if isinstance(node, Widget))
        return self.is_mounted and self.screen.is_current and shown and bool(self.size.area)

    def _draw_curves(self, head: Static, plot: Plot) -> None:
        dark = self.app.current_theme.dark
        title = f"{self.title} by {self.x_label}" if self.x_label else self.title
        self._put(head, legend(title, self.series, dark, self.size.width))
        drawing = self._drawing(self.size.width - MARGIN_LEFT - 2, self.size.height - 4)
        self._shown_y = drawing.y
        plot.draw(drawing, (self.x_axis, self.y_axis), dark, self.background_colors[1])

    def _drawing(self, columns: int, rows: int) -> Drawing:
        """Reduce the series in view to the canvas, with ranges that keep the outermost points off the frame."""
        first, last = self.view.x(self.extent)
        shown = [_reduced(one, columns, first, last) for one in self.series]
        ys = [y for one in shown for y in (*one.y, *one.upper)]
        low, high = self.view.y or _padded(ys)
        shown = [fill(one, low, high, DOTS_A_ROW * rows) if one.style == "band" else one for one in shown]
        edge = (last - first) / columns
        x = (first - edge / 2, last + edge)
        return Drawing(x, (low, high), shown, max(columns // 12, 2), min(max(rows // 2, 2), 8))


def _reduced(series: Series, columns: int, first: float, last: float) -> Series:
    if series.style == "band":
        dots = DOTS_A_COLUMN * columns
        x, y = resample(series.x, series.y, dots, first, last)
        upper = resample(series.x, series.upper, dots, first, last)[1]
        return Series(series.name, x, y, series.hue, series.style, upper=upper)
    if series.style == "scatter":
        inside = [(x, y) for x, y in zip(series.x, series.y, strict=True) if first <= x <= last]
        x, y = [x for x, _ in inside], [y for _, y in inside]
    elif series.style == "behind":
        x, y = resample(series.x, series.y, columns, first, last)
    else:
        x, y = reduce_to_columns(series.x, series.y, columns, first, last)
    return Series(series.name, x, y, series.hue, series.style, series.marker)


def _padded(values: Sequence[float]) -> Range:
    """Return the range of the values with a margin above and below."""
    if not values:
        return (0.0, 1.0)
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(high) * 0.05 or 0.5
    return (low - margin, high + margin)
