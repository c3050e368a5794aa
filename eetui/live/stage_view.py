"""What a stage looks like: its curves, the histogram of its signal, or a table of what it measured."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget

from eetui.drawing.axes import WHOLE, View
from eetui.drawing.chart import Chart
from eetui.drawing.palette import Palette, palette
from eetui.live.stage_charts import StageChart

BESIDE_BELOW = 20
"""Lines: with fewer, two charts stand side by side."""
Draw = Callable[[int, int, Palette], Text]
"""Text for so many columns and lines."""


class Picture(Widget):
    """Text that is drawn for the room there is."""

    DEFAULT_CSS = "Picture { height: 1fr; }"

    _draw: Draw | None = None
    _key: object = None

    def show(self, key: object, draw: Draw) -> None:
        """Draw this instead; the same key stands for the same picture."""
        self._draw = draw
        if key != self._key:
            self._key = key
            self.refresh()

    def render(self) -> Text:
        return self._draw(*self.size, palette(self.app.theme_variables)) if self._draw else Text()


class StageView(Vertical, can_focus=True):
    """Up to two charts over the same epochs, or a picture.

    It has the focus, whatever it shows, so that nothing changes hands from stage to stage; the keys of a chart go to
    all charts in view.
    """

    DEFAULT_CSS = """
    StageView { height: 1fr; width: 1fr; }
    StageView.-beside { layout: horizontal; }
    StageView > Chart { width: 1fr; }
    StageView.-beside > .stage--second { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = Chart.BINDINGS

    stage = ""
    """The stage in view."""

    def compose(self) -> ComposeResult:
        for place in ("first", "second"):
            chart = Chart(x_label="epoch", x_axis=WHOLE, classes=f"stage--{place}")
            chart.can_focus = False
            chart.display = False
            yield chart
        yield Picture()

    def on_resize(self) -> None:
        self.set_class(self.size.height < BESIDE_BELOW, "-beside")

    @property
    def charts(self) -> list[Chart]:
        """Those in view."""
        return [chart for chart in self.query_children(Chart) if chart.display]

    def show_charts(self, stage: str, contents: Sequence[StageChart]) -> None:
        """Draw these curves; charts of another stage than before show all of it."""
        fresh = stage != self.stage
        self.stage = stage
        self._reveal(len(contents))
        for chart, content in zip(self.charts, contents, strict=True):
            if fresh:
                chart.view = View()
            chart.set_axes(title=content.title, y_axis=content.y_axis)
            chart.set_series(content.series)

    def show_picture(self, stage: str, key: object, draw: Draw) -> None:
        """Draw this text; the same key stands for the same text."""
        self.stage = stage
        self._reveal(0)
        self.query_one(Picture).show((stage, key), draw)

    def _reveal(self, charts: int) -> None:
        for index, chart in enumerate(self.query_children(Chart)):
            chart.display = index < charts
        self.query_one(Picture).display = not charts

    # The keys of Chart

    def action_zoom_in(self) -> None:
        for chart in self.charts:
            chart.action_zoom_in()

    def action_zoom_out(self) -> None:
        for chart in self.charts:
            chart.action_zoom_out()

    def action_reset(self) -> None:
        for chart in self.charts:
            chart.reset()

    def action_pan(self, direction: int) -> None:
        for chart in self.charts:
            chart.action_pan(direction)

    def action_raise(self, direction: int) -> None:
        for chart in self.charts:
            chart.action_raise(direction)
