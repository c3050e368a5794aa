"""The Sweep screen."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from core.errors import EetuiError
from core.store.stored_sweeps import newest_sweeps
from eetui.console.screen import BenchScreen
from eetui.drawing.steady_footer import SteadyFooter
from eetui.sweeps import data, drawn, text
from eetui.sweeps.data import VIEWS, Found, View, Wanted
from eetui.sweeps.export import export_view
from eetui.sweeps.lines import Lines
from eetui.sweeps.views import NAMES, SweepViews

VIEW = Binding.Group("View", compact=True)
LISTED = 100
"""Newest sweeps that are listed."""
SHARE_OF_TIME = 0.1
"""Largest share of the time that a thread reads while another process works on the sweep."""
MOST_COMPARED = 30
"""Runs that are opened in Compare at once."""


class SweepsScreen(BenchScreen):
    """Stored sweeps, and five views of the one that is chosen."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012  # declared by Textual
    HELP_TEXT = (
        "The sweeps of the database, and one of them in five views. Cells: each combination of values with a sign for "
        "each seed. Heat: a metric over two fields, averaged over the others; m, x and y choose metric and axes; "
        "a fuller shade is better, and a star marks the best and what noise can't be told from it. Front: PPL against "
        "FLOP savings. Best: what to take for each purpose, [ and ] set how far above the best a PPL may be. "
        "Importance: how much each field matters, by Optuna. e draws heat and front as figures for a paper, and writes "
        "the other tables as CSV. Enter opens the runs under the cursor: one in Inspect, several in Compare."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"view('{view}')", NAMES[view], group=VIEW, id=f"sweeps.{view}",
                    tooltip=f"Show view {number} {NAMES[view]}")
            for number, view in enumerate(VIEWS, start=1)
        ),
        Binding("m", "metric(1)", "Metric", id="sweeps.metric", tooltip="Next metric"),
        Binding("M", "metric(-1)", "Metric before", show=False, id="sweeps.metric_before", tooltip="Metric before"),
        Binding("x", "turn('columns')", "Across", id="sweeps.columns", tooltip="Next field across the heat table"),
        Binding("y", "turn('rows')", "Down", id="sweeps.rows", tooltip="Next field down the heat table"),
        Binding("left_square_bracket", "within(-1)", "Closer", show=False, id="sweeps.closer",
                tooltip="Allow PPLs less far above the best"),
        Binding("right_square_bracket", "within(1)", "Further", show=False, id="sweeps.further",
                tooltip="Allow PPLs further above the best"),
        Binding("e", "export", "Export", id="sweeps.export", tooltip="Export the view to a file"),
        Binding("i", "inspect", "Inspect", show=False, id="sweeps.inspect", tooltip="Inspect the first finished run"),
    ]  # fmt: skip
    CSS = """
    SweepsScreen {
        #title { height: 1; padding: 0 1; background: $panel; }
        #body { height: 1fr; }
        #sweeps { height: auto; max-height: 5; background: $surface; }
    }
    SweepsScreen.-wide #body { layout: horizontal; }
    SweepsScreen.-wide #sweeps { width: 36; height: 1fr; max-height: 100%; border-right: vkey $panel; }
    """

    @dataclass
    class Read(Message):
        """A thread has read and worked out what was wanted, or could not."""

        found: Found | None
        content: drawn.Content
        problem: str
        seconds: float

    @dataclass
    class Counted(Message):
        """A thread has counted the runs of sweeps."""

        counts: dict[int, dict[str, int]]

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Wanted | None = None
        self.newest: list[dict[str, Any]] = []
        self.counts: dict[int, dict[str, int]] = {}
        self._busy = False
        self._next = 0.0
        self._due: Timer | None = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with Container(id="body"):
            yield Lines(id="sweeps")
            yield SweepViews()
        yield SteadyFooter()

    def on_mount(self) -> None:
        for lines in self.query(Lines):
            lines.empty = text.READING
        self.query_one("#sweeps", Lines).empty = text.NO_SWEEPS
        self.query_one("#sweeps").focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self.views.recolour())

    # Reading: a thread does, since a sweep may have thousands of runs

    def update(self) -> None:
        """List the sweeps, and have the chosen one read again."""
        self.newest = newest_sweeps(self.bench.reader, LISTED)
        self._show_list()
        self._want()

    def _want(self, *, now: bool = False, **changes: Any) -> None:
        """Have what is wanted read, soon, or now where a key asked for it."""
        if not self.newest:
            self._show_no_sweep()
            return
        chosen = self.newest[min(self._list.cursor, len(self.newest) - 1)]["id"]
        before = self.wanted or Wanted(chosen, None)
        version = self.bench.reader.version()
        self.wanted = replace(before, sweep=chosen, version=version, view=self.view, **changes)
        if now or time.monotonic() >= self._next:
            self._start()
        elif self._due is None:
            self._due = self.set_timer(self._next - time.monotonic(), self._start)

    def _start(self) -> None:
        if self._due is not None:
            self._due.stop()
            self._due = None
        if self._busy or self.wanted is None or not self.is_mounted:
            return
        known = self.found.wanted if self.found else None
        if self.wanted == known:
            return
        self._busy = True
        open_ones = [
            row["id"]
            for row in self.newest
            if not {"running", "queued"}.isdisjoint(self.counts.get(row["id"], {"running": 1}))
        ]
        stale = known is None or known.version != self.wanted.version
        self._read(self.wanted, open_ones if stale else [], self.found, self.app.current_theme.dark)

    @work(thread=True, group="sweep", exit_on_error=False)
    def _read(self, wanted: Wanted, to_count: list[int], before: Found | None, dark: bool) -> None:
        began = time.monotonic()
        try:
            found, problem = data.read(self.bench.database, wanted, before), ""
            content = drawn.content(found, dark=dark)
        except EetuiError as error:
            found, content, problem = None, drawn.Content(), str(error)
        self.post_message(self.Read(found, content, problem, time.monotonic() - began))
        self.post_message(self.Counted(data.count(self.bench.database, to_count)))

    def on_sweeps_screen_read(self, event: Read) -> None:
        self._busy = False
        self._next = time.monotonic() + event.seconds / SHARE_OF_TIME
        if event.problem and event.problem != self._problem:
            self.notify(event.problem, severity="error", timeout=10, markup=False)
        self._problem = event.problem
        if not self.is_mounted:
            return
        if event.found is not None:
            self._show(event.found, event.content)
            if self.wanted != event.found.wanted:
                asked = self._same_but_version(event.found) != event.found.wanted
                self.bench.attempt(lambda: self._want(now=asked))

    def _same_but_version(self, found: Found) -> Wanted | None:
        """Return what is wanted, of the state of the database that was read."""
        return self.wanted and replace(self.wanted, version=found.wanted.version)

    def on_sweeps_screen_counted(self, event: Counted) -> None:
        self.counts |= event.counts
        if self.is_mounted:
            self._show_list()

    # Display

    @property
    def views(self) -> SweepViews:
        return self.query_one(SweepViews)

    @property
    def view(self) -> View:
        """The visible view."""
        return self.views.view

    @property
    def found(self) -> Found | None:
        """What is shown."""
        return self.views.found

    @property
    def _list(self) -> Lines:
        return self.query_one("#sweeps", Lines)

    def _show_list(self) -> None:
        chosen = self.wanted.sweep if self.wanted else None
        place = next((place for place, row in enumerate(self.newest) if row["id"] == chosen), self._list.cursor)
        self._list.cursor = place  # new sweeps come first: the cursor stays on its own
        rows = [(row["name"], text.counts_text(self.counts.get(row["id"]))) for row in self.newest]
        self._list.show((), rows, left=2)
        self.query_one("#body").set_class(not self.newest, "-empty")

    def _show_no_sweep(self) -> None:
        """Empty every view."""
        self.wanted = None
        self.query_one("#title", Static).update(text.title_line(None, 0, False))
        self.views.clear()

    def _show(self, found: Found, content: drawn.Content) -> None:
        """Draw what was found."""
        title = text.title_line(found, len(self.newest), len(self.newest) == LISTED)
        self.query_one("#title", Static).update(title, layout=False)
        self.views.show(found, content)

    def on_tabbed_content_tab_activated(self) -> None:
        if self.ready:
            self.refresh_bindings()
            self.bench.attempt(lambda: self._want(now=True))
            if self.focused is None or self.focused.id != "sweeps":
                self.views.focus_view()

    def on_lines_moved(self, event: Lines.Moved) -> None:
        if event.lines.id == "sweeps":
            self.bench.attempt(lambda: self._want(now=True))

    # Keys

    def on_lines_opened(self, event: Lines.Opened) -> None:
        if event.lines.id == "sweeps":
            self.views.focus_view()
        elif self.found is not None:
            self._open(self.views.points())

    def _open(self, points: Iterable[int]) -> None:
        """Open the runs of combinations: several in Compare, one in Inspect, or in Live if it has not finished."""
        assert self.found is not None
        cells = [cell for point in points for cell in self.found.by_point[point].cells]
        runs = [cell["id"] for cell in cells]
        if len(runs) > MOST_COMPARED:
            self.notify(f"the first {MOST_COMPARED} of {len(runs):,} runs are compared", markup=False)
        if len(runs) == 1:
            self.bench.open("inspect" if cells[0]["status"] == "finished" else "live", *runs)
        elif runs:
            self.bench.open("compare", *runs[:MOST_COMPARED])

    def action_inspect(self) -> None:
        found = self.found
        cells = [cell for point in self.views.points() for cell in found.by_point[point].finished] if found else []
        if cells:
            self.bench.open("inspect", cells[0]["id"])
        else:
            self.notify("no run under the cursor has finished", markup=False)

    def action_export(self) -> None:
        """Draw the view's figure where it has one; else write its table."""
        if self.found is not None and self.found.wanted.view == self.views.view:
            export_view(self.bench, self.found, self.views.content)

    def action_view(self, view: View) -> None:
        self.views.choose(view)

    def action_metric(self, step: int) -> None:
        if self.found and self.wanted:
            key = data.next_metric(self.found.combinations, self.wanted.metric, step)
            self.bench.attempt(lambda: self._want(now=True, metric=key))

    def action_turn(self, turn: Any) -> None:
        if self.found and self.wanted:
            axes = data.turned_axes(self.found.combinations, self.wanted.rows, self.wanted.columns, turn)
            self.bench.attempt(lambda: self._want(now=True, rows=axes[0], columns=axes[1]))

    def action_within(self, step: int) -> None:
        if self.wanted:
            place = data.WITHINS.index(self.wanted.within) + step
            share = data.WITHINS[max(0, min(place, len(data.WITHINS) - 1))]
            self.bench.attempt(lambda: self._want(now=True, within=share))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable keys only in the views that they change."""
        views = {"metric": ("heat", "importance"), "turn": ("heat",), "within": ("best",), "export": VIEWS[:4]}
        return self.is_mounted and self.view in views[action] if action in views else True
