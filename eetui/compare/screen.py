"""The Compare screen: results, training, config, curves, savings and advice of runs side by side."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static, TabbedContent, TabPane

from core.store.reader import Query
from eetui.compare import tables_text as drawn
from eetui.compare.charts import VIEWS, View, blocks_with_curves, seen
from eetui.compare.comparison import Comparison, Row, compare
from eetui.compare.report_runs import report_names, report_view
from eetui.compare.run_view import RunView, curve_name, stored_view
from eetui.compare.screen_text import (
    advice_text,
    curve_series,
    curves_note,
    subtitles,
    title_line,
)
from eetui.compare.sheets import Sheet, config_sheet, fitting, sheet
from eetui.console.dialogs import Question
from eetui.console.screen import BenchScreen
from eetui.drawing.steady_footer import SteadyFooter

if TYPE_CHECKING:  # imports numpy
    from eetui.compare.savings_view import SavingsView
    from eetui.compare.table import CompareTable
    from eetui.drawing.chart import Chart

FIGURE, WITH_FIGURE = "figure", ("curves", "savings")
"""Answer that draws a figure for a paper, and the views that have one."""
TEXTS = {"json": drawn.as_json, "csv": drawn.as_csv, "md": drawn.as_markdown}
FORMATS = ("svg", *TEXTS)
"""What every view is exported as; `svg` is a picture of the screen."""
NAMES: dict[View, str] = {
    "final": "1 Final",
    "training": "2 Training",
    "config": "3 Config",
    "curves": "4 Curves",
    "savings": "5 Savings",
    "advice": "6 Advice",
}
VIEW = Binding.Group("View", compact=True)


class CompareScreen(BenchScreen):
    """A comparison of runs in six views, up to date while they train."""

    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-tall")]  # noqa: RUF012  # declared by Textual
    HELP_TEXT = (
        "The runs side by side. A star marks the best of a row among runs on the same windows, and all that are not "
        "clearly worse; figures of different windows are never ranked. Choose a baseline and every cell says how far "
        "it is from it: a PPL in percent, a share in points. Runs that differ in their seed only share a column, as "
        "mean ± standard deviation. The report's own results can be added as columns to hold the order of the methods "
        "against. The savings view draws each run at every threshold, worked out from the statistics of its tokens, "
        "against its static depths."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"view('{view}')", NAMES[view][2:], group=VIEW, id=f"compare.{view}",
                    tooltip=f"Show view {NAMES[view]}")
            for number, view in enumerate(VIEWS, start=1)
        ),
        Binding("b", "baseline", "Base", id="compare.baseline", tooltip="Take the column as baseline, or none"),
        Binding("g", "group", "Seeds", id="compare.group", tooltip="Join runs that differ in seed only, or not"),
        Binding("o", "only_changed", "Diff", id="compare.only_changed", tooltip="Only rows that differ, or all"),
        Binding("w", "report", "Report", id="compare.report", tooltip="Add or remove the seed report's columns"),
        Binding("v", "unit", "Unit", show=False, id="compare.unit", tooltip="Curves in nats or as PPL"),
        Binding("left_square_bracket", "block(-1)", show=False, id="compare.block_before", tooltip="Block before"),
        Binding("right_square_bracket", "block(1)", show=False, id="compare.block_after", tooltip="Next block"),
        Binding("e", "export", "Export", id="compare.export", tooltip="Export what is shown to a file"),
    ]  # fmt: skip
    CSS = """
    CompareScreen {
        #title { height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        TabbedContent { height: 1fr; }
        TabPane { padding: 0; }
        .note { height: auto; padding: 0 1; color: $text-muted; }
        #advice-text, #below-text { padding: 0 1; }
        #below { height: 1fr; display: none; }
        Chart { padding: 0 1; }
    }
    CompareScreen.-tall { #final { height: auto; max-height: 60%; } #below { display: block; } }
    """

    def __init__(self, *runs: int) -> None:
        super().__init__()
        self.runs = tuple(dict.fromkeys(runs))
        self.group_seeds, self.only_changed, self.whole_config = True, False, False
        self.with_report, self.as_ppl, self.block = False, False, 0
        self.baseline: str | None = None
        """A run of the baseline column; None: no baseline."""
        self.comparison: Comparison | None = None
        self._views: dict[int, RunView] = {}
        self._rows: dict[int, dict[str, Any]] = {}

    def compose(self) -> ComposeResult:
        from eetui.compare.savings_view import SavingsView
        from eetui.compare.table import CompareTable
        from eetui.drawing.axes import WHOLE
        from eetui.drawing.chart import Chart

        yield Static(id="title", markup=False)
        with TabbedContent(initial="view-final"):
            for view in ("final", "training", "config"):
                with TabPane(NAMES[view], id=f"view-{view}"):
                    yield CompareTable(id=view)
                    if view == "final":
                        with VerticalScroll(id="below", can_focus=False):
                            yield Static(id="below-text", markup=False)
            with TabPane(NAMES["curves"], id="view-curves"):
                yield Chart("", x_label="epoch", x_axis=WHOLE, id="curves")
                yield Static(id="curves-note", classes="note", markup=False)
            with TabPane(NAMES["savings"], id="view-savings"):
                yield SavingsView(self.bench.database)
            with TabPane(NAMES["advice"], id="view-advice"), VerticalScroll(id="advice"):
                yield Static(id="advice-text", markup=False)
        yield SteadyFooter()

    def on_mount(self) -> None:
        self.query_one("#final").focus()

    # Data

    def update(self) -> None:
        """Read the runs that have changed."""
        found = self.bench.reader.runs(Query(f"id IN ({', '.join('?' * len(self.runs))})", self.runs))
        rows = {row["id"]: row for row in found}
        touched = [run for run, row in rows.items() if row != self._rows.get(run)]  # the heartbeat is in it
        views = {run: self._views[run] for run in rows if run not in touched}
        with self.bench.reader.exactly() as reader:  # an export has the exact names
            views |= {run: stored_view(reader, run) for run in touched}
        self._rows = rows
        if views != self._views or self.comparison is None:
            self._views = views
            self._compare()

    def _compare(self) -> None:
        views = [self._views[run] for run in self.runs if run in self._views]
        if self.with_report:
            views += [view for name in report_names() if (view := report_view(name)) is not None]
        self.comparison = compare(
            views,
            group_seeds=self.group_seeds,
            only_changed=self.only_changed,
            whole_config=self.whole_config,
            baseline=self.baseline,
        )
        blocks = blocks_with_curves(self.comparison)
        self.block = self.block if self.block in blocks else min(blocks, default=0)
        self._show()

    # Display

    @property
    def view(self) -> View:
        """The visible view."""
        active = self.query_one(TabbedContent).active.removeprefix("view-")
        return next((view for view in VIEWS if view == active), "final")

    def _show(self) -> None:
        """Draw the visible view of the current comparison."""
        if self.comparison is None or not self.is_mounted:
            return
        options = (self.group_seeds, self.only_changed)
        self.query_one("#title", Static).update(title_line(self.comparison, len(self._views), *options))
        match self.view:
            case "curves":
                self._show_curves(self.comparison)
            case "savings":
                self._savings().show(self.comparison, {view.name: run for run, view in self._views.items()})
            case "advice":
                self.query_one("#advice-text", Static).update(advice_text(self.comparison))
            case view:
                self.query_one("#below-text", Static).update(advice_text(self.comparison))
                self._table(view).show(self._sheet(view), subtitles(self.comparison), self.size.width)

    def _sheet(self, view: View) -> Sheet:
        assert self.comparison is not None
        if view == "config":
            title = "all of the config" if self.whole_config else "what differs"
            return fitting(replace(config_sheet(self.comparison), title=title))
        heads = [column.title for column in self.comparison.columns]
        if view == "training":
            return fitting(sheet("training", heads, self.comparison.training))
        return fitting(sheet("eval split, all tokens", heads, self.comparison.final))

    def _show_curves(self, comparison: Comparison) -> None:
        from eetui.drawing.axes import LINEAR, PPL

        chart = self._chart()
        title = f"{curve_name(self.block).capitalize()} early-stop {'PPL' if self.as_ppl else 'nats'}"
        if title != chart.title:
            chart.set_axes(title=title, y_axis=PPL if self.as_ppl else LINEAR)
        note = curves_note(comparison, self.block, as_ppl=self.as_ppl)
        chart.set_series(curve_series(comparison, self.block), note)
        self.query_one("#curves-note", Static).update(note)

    def _chart(self) -> "Chart":
        from eetui.drawing.chart import Chart

        return self.query_one("#curves", Chart)

    def _savings(self) -> "SavingsView":
        from eetui.compare.savings_view import SavingsView

        return self.query_one(SavingsView)

    def _table(self, view: View) -> "CompareTable":
        from eetui.compare.table import CompareTable

        return self.query_one(f"#{view}", CompareTable)

    def on_tabbed_content_tab_activated(self) -> None:
        self._show()
        self.query_one(f"#{self.view}").focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # Keys

    def action_view(self, view: View) -> None:
        self.query_one(TabbedContent).active = f"view-{view}"

    def action_baseline(self) -> None:
        """Take the column under the cursor as baseline; without a cursor, the next column, and none after the last."""
        if self.comparison is None or not self.comparison.columns:
            return
        present, columns = self.comparison.baseline, self.comparison.columns
        if self.view in ("final", "training", "config"):
            chosen = self._table(self.view).chosen
            chosen = None if chosen == present else chosen
        else:
            following = 0 if present is None else present + 1
            chosen = following if following < len(columns) else None
        self.baseline = None if chosen is None else columns[chosen].runs[0].name
        self._compare()

    def action_group(self) -> None:
        self.group_seeds = not self.group_seeds
        self._compare()

    def action_only_changed(self) -> None:
        """Show only rows that differ, or all; config rows that agree are hidden at first."""
        if self.view == "config":
            self.whole_config = not self.whole_config
        else:
            self.only_changed = not self.only_changed
        self._compare()

    def action_report(self) -> None:
        self.with_report = not self.with_report
        self._compare()

    def action_unit(self) -> None:
        self.as_ppl = not self.as_ppl
        self._show()

    def action_block(self, step: int) -> None:
        if self.comparison is not None:
            blocks = blocks_with_curves(self.comparison)
            if self.block in blocks:
                self.block = blocks[max(0, min(len(blocks) - 1, blocks.index(self.block) + step))]
            self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable the keys of curves only in the views with curves."""
        if action in ("unit", "block"):
            return self.is_mounted and self.view == "curves"
        return True

    def action_export(self) -> None:
        name = NAMES[self.view][2:].lower()
        formats = (FIGURE, *FORMATS) if self.view in WITH_FIGURE else FORMATS
        self.app.push_screen(Question(f"Export the {name} view as", formats), self._export_answered)

    def _export_answered(self, answer: str | None) -> None:
        if answer == FIGURE:
            more = (self.as_ppl,) if self.view == "curves" else ()
            self.bench.draw(self.view, self.comparison, *more)
        elif answer is not None:
            self.call_after_refresh(self._export, answer)

    def _area_rows(self) -> tuple[Row, ...]:
        from eetui.compare.savings_curves import area_rows

        return area_rows(self.comparison.columns, self._savings().curves) if self.comparison else ()

    def _export(self, suffix: str) -> None:
        self.bench.export(f"compare-{self.view}.{suffix}", lambda: self._text(suffix))

    def _text(self, suffix: str) -> str:
        """Return the text of the view in a format, ended by a line break."""
        assert self.comparison is not None
        if suffix == "svg":
            text = self.app.export_screenshot(title="eetui compare")
        else:
            rows = self._area_rows() if self.view == "savings" else ()
            shown = seen(self.comparison, self.view, self.block, as_ppl=self.as_ppl, areas=rows)
            if self.view == "savings":
                shown = replace(shown, notes=(*shown.notes, *self._savings().notes))
            text = TEXTS[suffix](shown)
        return text + ("" if text.endswith("\n") else "\n")
