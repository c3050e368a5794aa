"""The savings view; a worker thread computes the curves run by run, and they are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from core.store.reader import Reader
from eetui.compare import savings_text as drawn
from eetui.compare.comparison import Comparison
from eetui.compare.savings_curves import SavingsCurve, column_curves, tried_curve
from eetui.compare.savings_gaps import curve_notes
from eetui.drawing.axes import PPL, SHARE
from eetui.drawing.chart import Chart


class SavingsView(Vertical):
    """Chart, table of areas, and note."""

    DEFAULT_CSS = """
    SavingsView { height: 1fr; }
    SavingsView #areas { height: auto; padding: 0 1; }
    """

    class Found(Message):
        """The curve of one more run is known."""

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database
        self.comparison: Comparison | None = None
        self._numbers: Mapping[str, int] = {}
        self._known: dict[str, SavingsCurve | str] = {}
        self._asked: set[str] = set()

    def compose(self) -> ComposeResult:
        yield Chart("PPL, eval", x_label="layer savings", x_axis=SHARE, y_axis=PPL, id="savings")
        yield Static(id="areas", markup=False)
        yield Static(id="savings-note", classes="note", markup=False)

    @property
    def curves(self) -> dict[int, SavingsCurve]:
        """The curve of each column that has one."""
        return column_curves(self.comparison, dict(self._known)) if self.comparison else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Which columns have no curve, or one of some of their seeds only, and why."""
        return tuple(curve_notes(self.comparison, dict(self._known))) if self.comparison else ()

    def show(self, comparison: Comparison, numbers: Mapping[str, int]) -> None:
        """Show the curves known so far, and start computing the others.

        Args:
            numbers: numbers of the stored runs, by name.
        """
        self.comparison, self._numbers = comparison, numbers
        runs = [run for column in comparison.columns for run in column.runs if run.name in numbers]
        new = [run.name for run in runs if run.status == "finished" and run.name not in self._asked]
        if new:
            self._asked.update(new)
            self._work_out([(name, numbers[name]) for name in new])
        self._draw()

    @work(thread=True, group="curves")
    def _work_out(self, runs: Sequence[tuple[str, int]]) -> None:
        worker = get_current_worker()
        for name, number in runs:
            if worker.is_cancelled:
                return
            with Reader(self.database) as reader:
                self._known[name] = tried_curve(reader, number)
            self.post_message(self.Found())

    def on_savings_view_found(self) -> None:
        if self.is_mounted:
            self._draw()

    def _draw(self) -> None:
        if self.comparison is None:
            return
        curves, dark = self.curves, self.app.current_theme.dark
        tried = dict(self._known)
        words = drawn.note(self.comparison, curves, tried, busy=len(tried) < len(self._asked))
        self.query_one(Chart).set_series(drawn.series(self.comparison, curves), words)
        areas = self.query_one("#areas", Static)
        areas.update(drawn.table(self.comparison, curves, max(20, self.size.width - 2), dark=dark))
        areas.display = bool(curves)
        self.query_one("#savings-note", Static).update(words)
