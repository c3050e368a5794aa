"""The Runs screen: watch, find, mark and tidy all runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import Static

from core.store.reader import RunRow
from eetui.console.marks import MARK_LIMIT, drop_the_gone, mark_all, toggle
from eetui.console.screen import BenchScreen
from eetui.drawing.palette import palette
from eetui.drawing.steady_footer import SteadyFooter
from eetui.runs.actions import ListActions
from eetui.runs.deletions import Deletions
from eetui.runs.filter_bar import FilterBar
from eetui.runs.filters import parse
from eetui.runs.pages import RunPages
from eetui.runs.preview import PLACES, RunPreview, preview_place
from eetui.runs.preview_text import preview_line
from eetui.runs.standing import Standings
from eetui.runs.table import RunsTable
from eetui.runs.table_text import NUMBER, next_order
from eetui.runs.title_text import Facts, title_line

SMALLEST = (40, 8)
REST_SECONDS = 0.1
"""Time that the cursor rests before the preview is drawn."""
REPAIR_SECONDS = 30.0
"""Interval between searches for runs whose process is gone."""
NO_RUNS = "No runs yet: press n to set up the first."
NO_MATCH = "No run matches the filter: escape clears it, / changes it."


class RunsScreen(BenchScreen):
    """The list of runs, from which all other screens are reached."""

    AUTO_FOCUS = "RunsTable"
    HELP_TEXT = (
        "All runs of the database, newest first. Open one to watch it, mark several to compare them. "
        "The filter takes words such as method:loss status:failed tag:x ppl<900 savings>=25%, and parts of a name. "
        "u brings back what was deleted last, and eetui restore any deleted run for 30 days."
    )
    CSS = """
    RunsScreen #title { height: 1; padding: 0 1; background: $panel; }
    RunsScreen #line { height: 1; padding: 0 1; background: $surface; display: none; }
    RunsScreen #too-small { display: none; padding: 0 1; }
    RunsScreen #body { height: 1fr; layout: horizontal; }
    RunsScreen.-below #body { layout: vertical; }
    RunsScreen RunsTable { width: 1fr; }
    RunsScreen RunPreview { width: 30%; min-width: 40; max-width: 64; height: 1fr; border-left: vkey $panel; }
    RunsScreen.-below RunPreview {
        width: 100%; max-width: 100%; height: 40%; min-height: 8; max-height: 16;
        border-left: none; border-top: solid $panel;
    }
    RunsScreen.-line RunPreview { display: none; }
    RunsScreen.-line #line { display: block; }
    RunsScreen.-tiny > * { display: none; }
    RunsScreen.-tiny > #too-small { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="runs.filter", tooltip="Filter the list", key_display="/"),
        Binding("escape", "clear", "Clear", show=False, id="runs.clear", tooltip="Clear the filter"),
        Binding("space", "mark", "Mark", id="runs.mark", tooltip="Mark the run and move on, or unmark it"),
        Binding("a", "mark_all", "Mark all", show=False, id="runs.mark_all", tooltip="Mark all runs shown"),
        Binding("A", "mark_none", "Mark none", show=False, id="runs.mark_none", tooltip="Take all marks away"),
        Binding("c", "compare", "Compare", id="runs.compare", tooltip="Compare the marked runs, or the experiment"),
        Binding(
            "i", "act('inspect')", "Inspect", show=False, id="runs.inspect", tooltip="Inspect the run token by token"
        ),
        Binding("w", "act('generate')", "Write", show=False, id="runs.generate", tooltip="Let the run write a text"),
        Binding("W", "sweeps", "Sweeps", show=False, id="runs.sweeps", tooltip="Show the sweeps"),
        Binding("s", "sort", "Sort", show=False, id="runs.sort", tooltip="Sort by the next column"),
        Binding("S", "reverse", "Reverse", show=False, id="runs.reverse", tooltip="Reverse the order"),
        Binding("p", "preview", "Preview", show=False, id="runs.preview", tooltip="Show or hide the preview"),
        Binding("x", "act('cancel')", "Cancel", show=False, id="runs.cancel", tooltip="Cancel the run"),
        Binding(
            "r", "act('resume')", "Resume", show=False, id="runs.resume", tooltip="Resume an interrupted or failed run"
        ),
        Binding("e", "export", "Export", show=False, id="runs.export", tooltip="Export the list to a file"),
        Binding("R", "act('rename')", "Rename", show=False, id="runs.rename", tooltip="Rename the run"),
        Binding("t", "act('tag')", "Tags", show=False, id="runs.tag", tooltip="Edit the run's tags"),
        Binding("N", "act('note')", "Note", show=False, id="runs.note", tooltip="Add a note to the run"),
        Binding(
            "y", "act('copy_command')", "Copy", show=False, id="runs.copy", tooltip="Copy the command that launches it"
        ),
        Binding("d", "delete", "Delete", show=False, id="runs.delete", tooltip="Delete the marked runs, or this one"),
        Binding("u", "undo", "Undo", show=False, id="runs.undo", tooltip="Bring back what was deleted last"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._words = ""
        self._order = (NUMBER.key, True)
        self._deletions = Deletions()
        self._toggled = False
        self._seen: object = None
        self._previewed: RunRow | None = None
        self._rest: Timer | None = None

    def compose(self) -> ComposeResult:
        self._standings = Standings(self.bench.reader, self.bench.trainer)
        self._actions = ListActions(self.bench, self._written, self._deletions)
        yield Static(id="title", markup=False)
        yield FilterBar()
        with Container(id="body"):
            yield RunsTable(RunPages(self.bench.reader), self.bench.marked, self._standings.of)
            yield RunPreview()
        yield Static(id="line", markup=False)
        yield Static(id="too-small", markup=False)
        yield SteadyFooter()

    def on_mount(self) -> None:
        self.set_interval(REPAIR_SECONDS, self._actions.close_books)
        self.call_after_refresh(self._actions.close_books)

    @property
    def table(self) -> RunsTable:
        return self.query_one(RunsTable)

    # Display

    def update(self) -> None:
        """Read the database again and draw what has changed."""
        self._show()

    def _show(self, *, from_top: bool = False) -> None:
        if not self.query(RunsTable):
            return  # not composed yet, or being taken down
        query = replace(parse([self._words]), order_by=self._order[0], descending=self._order[1])
        seen = self.bench.reader.version(), query
        if seen != self._seen:
            self.table.empty = NO_MATCH if self._words.split() else NO_RUNS
            self.table.show(query, from_top=from_top)
            self._seen = seen
        self.table.refresh()
        self._show_facts()
        self._show_preview_soon()

    def _show_soon(self, *, from_top: bool = False) -> None:
        """Show the list once pending work is done."""
        self.call_later(self.bench.attempt, lambda: self._show(from_top=from_top))

    def _written(self) -> None:
        self._previewed = None
        self._show_soon()

    def _show_facts(self) -> None:
        reader, marked = self.bench.reader, self.bench.marked
        drop_the_gone(marked, reader)
        live = reader.live()
        running = [row["id"] for row in live if row["status"] == "running"]
        self._standings.states.keep(running)
        facts = Facts(
            shown=self.table.pages.count,
            total=reader.count(),
            running=len(running),
            queued=len(live) - len(running),
            marked=len(marked),
            deleted=len(self._deletions.runs),
        )
        title = title_line(facts, self.bench.place, self.size.width - 2)
        self.query_one("#title", Static).update(title, layout=False)
        self._show_line()

    def _show_line(self) -> None:
        """Show the run under the cursor on one line, where the preview does not fit."""
        hint = "p preview" if preview_place(*self.size, not self._toggled) != "line" else ""
        line = preview_line(self.table.row, self.size.width - 2, palette(self.app.theme_variables), hint)
        self.query_one("#line", Static).update(line, layout=False)

    def _show_preview_soon(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_SECONDS, lambda: self.bench.attempt(self._show_preview))

    def _show_preview(self) -> None:
        """Read the run under the cursor, unless it is shown already and unchanged."""
        hidden = self.has_class("-line") or not self.query(RunsTable)
        row = None if hidden else self.table.row
        if row != self._previewed:
            self._previewed = row
            reader = self.bench.reader
            self.query_one(RunPreview).show((reader.run(row["id"]), reader.state(row["id"])) if row else None)

    def _arrange(self) -> None:
        width, height = self.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-tiny")
        needs = f"eetui needs {SMALLEST[0]} columns and {SMALLEST[1]} rows; this terminal has {width} and {height}."
        self.query_one("#too-small", Static).update(needs)
        for place in PLACES:
            self.set_class(place == preview_place(width, height, self._toggled), f"-{place}")
        self._show_soon()

    def on_resize(self) -> None:
        self._arrange()

    def on_runs_table_moved(self) -> None:
        self.bench.attempt(self._show_line)
        self._show_preview_soon()

    # Filter, order and preview

    def action_filter(self) -> None:
        self.query_one(FilterBar).write()

    def action_clear(self) -> None:
        self.query_one(FilterBar).clear()

    def on_filter_bar_left(self) -> None:
        self.table.focus()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self._words = event.words
        self._show_soon()

    def on_runs_table_head_picked(self, event: RunsTable.HeadPicked) -> None:
        column = event.column
        self._sort(column.key, column.falls if column.key != self._order[0] else not self._order[1])

    def action_sort(self) -> None:
        self._sort(*next_order(self.table.columns, self._order[0]))

    def action_reverse(self) -> None:
        self._sort(self._order[0], not self._order[1])

    def _sort(self, by: str, descending: bool) -> None:
        self._order = by, descending
        self._show_soon(from_top=True)

    def action_preview(self) -> None:
        self._toggled = not self._toggled
        self._arrange()

    # Marks, and screens opened for them

    def action_mark(self) -> None:
        if self.table.run is not None:
            toggle(self.bench.marked, self.table.run)
            self.table.action_move(1)
            self.bench.attempt(self._show_facts)

    def action_mark_all(self) -> None:
        self.bench.attempt(self._mark_all)

    def _mark_all(self) -> None:
        pages = self.table.pages
        mark_all(self.bench.marked, self.bench.reader, pages.query)
        if pages.count > MARK_LIMIT:
            self.notify(f"marked the first {MARK_LIMIT} of {pages.count:,}: filter to mark others", markup=False)
        self._show()

    def action_mark_none(self) -> None:
        self.bench.marked.clear()
        self._show_soon()

    def action_compare(self) -> None:
        if self.bench.marked:
            self.bench.open("compare", *self.bench.marked)
        else:
            self._with_row(self._actions.compare_experiment)

    def action_sweeps(self) -> None:
        self.bench.open("sweeps")

    def on_runs_table_opened(self, event: RunsTable.Opened) -> None:
        self.bench.open("live", event.run)

    # Actions on the run under the cursor

    def _with_row(self, work: Callable[[RunRow], object]) -> None:
        def on_row() -> None:
            row = self.table.row
            if row is not None:
                work(row)

        self.bench.attempt(on_row)

    def action_act(self, what: str) -> None:
        """Call that method of `ListActions` for the run under the cursor."""
        self._with_row(getattr(self._actions, what))

    def action_export(self) -> None:
        self.bench.attempt(lambda: self._actions.export(self.table.pages.query))

    # Deleting, into the bin

    def action_delete(self) -> None:
        self._with_row(lambda row: self._actions.delete(list(self.bench.marked) or [row["id"]]))

    def action_undo(self) -> None:
        self.bench.attempt(self._actions.undo)
