"""View of a stage: its curves, the histogram of its signal, or a table of what it measured."""

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
"""Height in lines below which two charts stand side by side."""
Draw = Callable[[int, int, Palette], Text]
"""Function of columns, lines and palette that returns a text to fit them."""


class Picture(Widget):
    """A text drawn to fit the widget's size."""

    DEFAULT_CSS = "Picture { height: 1fr; }"

    _draw: Draw | None = None
    _key: object = None

    def show(self, key: object, draw: Draw) -> None:
        """Draw this picture from now on; an equal key means the same picture."""
        self._draw = draw
        if key != self._key:
            self._key = key
            self.refresh()

    def render(self) -> Text:
        return self._draw(*self.size, palette(self.app.theme_variables)) if self._draw else Text()


class StageView(Vertical, can_focus=True):
    """Up to two charts over the same epochs, or a picture.

    The view has the focus, not what it shows, so that the focus stays from stage to stage; the keys of a chart act on
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
        """The charts in view."""
        return [chart for chart in self.query_children(Chart) if chart.display]

    def show_charts(self, stage: str, contents: Sequence[StageChart]) -> None:
        """Draw these charts; those of another stage than before start with the whole range in view."""
        fresh = stage != self.stage
        self.stage = stage
        self._reveal(len(contents))
        for chart, content in zip(self.charts, contents, strict=True):
            if fresh:
                chart.view = View()
            chart.set_axes(title=content.title, y_axis=content.y_axis)
            chart.set_series(content.series)

    def show_picture(self, stage: str, key: object, draw: Draw) -> None:
        """Draw this picture; an equal key means the same picture."""
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
