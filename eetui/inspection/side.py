"""Beside the text of Inspect: figures by block, the signal's worth and histogram, PPL by exit rate or by savings."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from eetui.drawing.axes import PPL, SHARE
from eetui.drawing.chart import Chart
from eetui.drawing.palette import palette
from eetui.drawing.steady_text import SteadyText
from eetui.inspection.exit_quality import ExitQualityText

if TYPE_CHECKING:  # numpy: imported once there is something to show
    from eetui.inspection.study import Study

CHART_SECONDS = 0.15
"""After a move, curve and histogram are drawn so late: the figures come first, also while a key is held down."""


class StudySide(Vertical):
    """Draws what is in view only."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id)
        self._study: Study | None = None
        self._chart_timer: Timer | None = None
        self._asked_for: Study | None = None

    @dataclass
    class Curves(Message):
        """The curves by savings are known."""

    def compose(self) -> ComposeResult:
        yield SteadyText(id="blocks")
        yield ExitQualityText(id="quality")
        yield Static(id="histogram", markup=False)
        chart = Chart("PPL, eval", x_label="exit rate", x_axis=SHARE, y_axis=PPL, id="curve")
        chart.can_focus = False  # its keys are the threshold's here; the mouse zooms it
        yield chart

    def show(self, study: "Study") -> None:
        """Show the figures at the present thresholds."""
        if not self.display:
            return
        self._study, width = study, max(20, self.size.width - 2)
        if self.query_one("#blocks").display:
            from eetui.inspection.text import blocks_table

            self.query_one("#blocks", SteadyText).show(blocks_table(study.now.outcome, width))
        if self.query_one("#quality").display:
            self.query_one(ExitQualityText).show(study, width)
        if self._chart_timer is None:
            self._chart_timer = self.set_timer(CHART_SECONDS, self._show_charts)

    def _show_charts(self) -> None:
        """Draw the charts, which take longer than the figures."""
        self._chart_timer = None
        if self._study is None or not self.is_mounted:
            return
        from eetui.inspection.charts import curve_sentence, curve_series, signal_histogram, x_label

        study, bars, chart = self._study, self.query_one("#histogram", Static), self.query_one(Chart)
        if bars.size.height > 1:
            style = palette(self.app.theme_variables)
            bars.update(signal_histogram(study, bars.size.width, bars.size.height, style))
        if chart.x_label != (label := x_label(study)):
            chart.set_axes(x_label=label)
        if chart.display and study.moves_price and self._asked_for is not study:
            self._asked_for = study
            self._work_out(study)
        chart.set_series(curve_series(study), curve_sentence(study))

    @work(thread=True, group="curves")
    def _work_out(self, study: "Study") -> None:
        study.curves = study.prices.curves()
        self.post_message(self.Curves())

    def on_study_side_curves(self) -> None:
        if self._chart_timer is None:
            self._show_charts()
