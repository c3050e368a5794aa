"""The Sweep screen."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static, TabbedContent, TabPane

from core.errors import EetuiError
from core.store.stored_sweeps import newest_sweeps
from core.sweeps.importance import Importance
from eetui.console.screen import BenchScreen
from eetui.drawing.palette import palette
from eetui.drawing.steady_footer import SteadyFooter
from eetui.sweeps import data, drawn, text
from eetui.sweeps.data import VIEWS, Found, View, Wanted
from eetui.sweeps.export import export_view
from eetui.sweeps.lines import Lines

if TYPE_CHECKING:  # imports numpy
    from eetui.drawing.chart import Chart

NAMES: dict[View, str] = {
    "cells": "Cells",
    "heat": "Heat",
    "front": "Front",
    "best": "Best",
    "importance": "Importance",
}
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
        #detail { height: 1fr; width: 1fr; }
        TabbedContent { height: 1fr; }
        TabPane { padding: 0; }
        .note { height: auto; padding: 0 1; color: $text-muted; }
        #chart { height: 1fr; padding: 0 1; }
        #front { height: 40%; }
        #importance-text { padding: 0 1; }
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

    @dataclass
    class Weighed(Message):
        """A thread has worked out the importance of what a sweep varies."""

        key: tuple[object, ...]
        shares: Importance | str

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Wanted | None = None
        self.found: Found | None = None
        self.content = drawn.Content()
        self.newest: list[dict[str, Any]] = []
        self.counts: dict[int, dict[str, int]] = {}
        self._busy = False
        self._next = 0.0
        self._due: Timer | None = None
        self._problem = ""
        self._shares: dict[tuple[object, ...], Importance | str] = {}
        self._weighing: tuple[object, ...] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with Container(id="body"):
            yield Lines(id="sweeps")
            with Vertical(id="detail"), TabbedContent(initial="view-cells"):
                for number, view in enumerate(VIEWS, start=1):
                    with TabPane(f"{number} {NAMES[view]}", id=f"view-{view}"):
                        if view == "front":
                            yield Vertical(id="chart")
                        if view == "importance":
                            with VerticalScroll(id="importance"):
                                yield Static(id="importance-text", markup=False)
                        else:
                            yield Lines(id=view, by_cell=view == "heat")
                        yield Static(id=f"{view}-note", classes="note", markup=False)
        yield SteadyFooter()

    def on_mount(self) -> None:
        for lines in self.query(Lines):
            lines.empty = text.READING
        self.query_one("#sweeps", Lines).empty = text.NO_SWEEPS
        self.query_one("#sweeps").focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._recolour())

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
        known = self.found.wanted if self.found else None
        if self._busy or self.wanted is None or self.wanted == known or not self.is_mounted:
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
            self.found, self.content = event.found, event.content
            self._show()
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
    def view(self) -> View:
        """The visible view."""
        active = self.query_one(TabbedContent).active.removeprefix("view-")
        return next((view for view in VIEWS if view == active), "cells")

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
        self.wanted = self.found = None
        self.query_one("#title", Static).update(text.title_line(None, 0, False))
        for lines in self.query("#detail Lines").results(Lines):
            lines.empty = ""
            lines.show((), [])
        for note in self.query("#detail .note, #importance-text").results(Static):
            note.update("")
        if self.query("#chart Chart"):
            self._chart().set_series(())

    def _recolour(self) -> None:
        """Draw what was found in the colours of the theme that was chosen."""
        if self.found is not None:
            self.content = drawn.content(self.found, dark=self.app.current_theme.dark)
            self._show()

    def _show(self) -> None:
        """Draw the visible view of what was found."""
        found = self.found
        if found is None:
            return
        title = text.title_line(found, len(self.newest), len(self.newest) == LISTED)
        self.query_one("#title", Static).update(title, layout=False)
        view, content = found.wanted.view, self.content
        if view == "importance":
            self._show_importance(found)
            return
        lines, note = self.query_one(f"#{view}", Lines), self.query_one(f"#{view}-note", Static)
        lines.empty = content.empty
        paint = partial(drawn.coloured, content.marks, palette(self.app.theme_variables), content.styles)
        lines.show(content.heads, content.rows, left=content.left, paint=paint)
        note.update("\n".join(content.notes))
        note.display = bool(content.notes)
        if view == "front":
            self._chart().set_series(text.front_series(found.front, found.by_point), text.front_note(found.front))

    def _chart(self) -> "Chart":
        """Return the chart, which is made when it is first shown: it imports numpy."""
        from eetui.drawing.axes import PPL, SHARE
        from eetui.drawing.chart import Chart

        place = self.query_one("#chart")
        for chart in place.query(Chart):
            return chart
        chart = Chart("PPL, eval", x_label="FLOP savings", x_axis=SHARE, y_axis=PPL)
        place.mount(chart)
        return chart

    def _show_importance(self, found: Found) -> None:
        """Show the importance if it is known, else have it worked out."""
        complete = [len(one.cells) for one in found.combinations if one.complete]
        key = (found.sweep.number, found.wanted.metric, len(complete), sum(complete))
        place = self.query_one("#importance-text", Static)
        if key in self._shares:
            place.update(drawn.importance_text(self._shares[key]))
            return
        place.update("Working it out …")
        if self._weighing is None:
            self._weighing = key
            self._weigh(key, found)

    @work(thread=True, group="importance", exit_on_error=False)
    def _weigh(self, key: tuple[object, ...], found: Found) -> None:
        self.post_message(self.Weighed(key, data.shares(found.combinations, found.wanted.metric)))

    def on_sweeps_screen_weighed(self, event: Weighed) -> None:
        self._weighing = None
        self._shares[event.key] = event.shares
        if self.is_mounted and self.found and self.found.wanted.view == "importance":
            self._show_importance(self.found)

    def on_tabbed_content_tab_activated(self) -> None:
        if self.ready:
            self.refresh_bindings()
            self.bench.attempt(lambda: self._want(now=True))
            if self.focused is None or self.focused.id != "sweeps":
                self._focus_view()

    def _focus_view(self) -> None:
        self.query_one(f"#{self.view}").focus()

    def on_lines_moved(self, event: Lines.Moved) -> None:
        if event.lines.id == "sweeps":
            self.bench.attempt(lambda: self._want(now=True))

    # Keys

    def on_lines_opened(self, event: Lines.Opened) -> None:
        if event.lines.id == "sweeps":
            self._focus_view()
        elif self.found is not None:
            self._open(self._points())

    def _points(self) -> tuple[int, ...]:
        """Return the combinations under the cursor of the visible view."""
        found = self.found
        if found is None or found.wanted.view == "importance":
            return ()
        lines = self.query_one(f"#{found.wanted.view}", Lines)
        return drawn.points_at(found, lines.cursor, lines.column)

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
        cells = [cell for point in self._points() for cell in found.by_point[point].finished] if found else []
        if cells:
            self.bench.open("inspect", cells[0]["id"])
        else:
            self.notify("no run under the cursor has finished", markup=False)

    def action_export(self) -> None:
        """Draw the view's figure where it has one; else write its table."""
        if self.found is not None and self.found.wanted.view == self.view:
            export_view(self.bench, self.found, self.content)

    def action_view(self, view: View) -> None:
        self.query_one(TabbedContent).active = f"view-{view}"

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
