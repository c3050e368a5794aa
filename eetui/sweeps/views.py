"""The five views of a sweep, as tabs: each a table, with a chart, a note or a text of its own."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static, TabbedContent, TabPane

from core.sweeps.importance import Importance
from eetui.drawing.palette import palette
from eetui.sweeps import data, drawn, text
from eetui.sweeps.data import VIEWS, Found, View
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


class SweepViews(Vertical):
    """What was found of a sweep, in the view that is chosen."""

    DEFAULT_CSS = """
    SweepViews {
        height: 1fr; width: 1fr;
        TabbedContent { height: 1fr; }
        TabPane { padding: 0; }
        .note { height: auto; padding: 0 1; color: $text-muted; }
        #chart { height: 1fr; padding: 0 1; }
        #front { height: 40%; }
        #importance-text { padding: 0 1; }
    }
    """

    @dataclass
    class Weighed(Message):
        """A thread has worked out the importance of what a sweep varies."""

        key: tuple[object, ...]
        shares: Importance | str

    def __init__(self) -> None:
        super().__init__()
        self.found: Found | None = None
        self.content = drawn.Content()
        self._shares: dict[tuple[object, ...], Importance | str] = {}
        self._weighing: tuple[object, ...] | None = None

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="view-cells"):
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

    @property
    def view(self) -> View:
        """The visible view."""
        active = self.query_one(TabbedContent).active.removeprefix("view-")
        return next((view for view in VIEWS if view == active), "cells")

    def choose(self, view: View) -> None:
        """Make another view the visible one."""
        self.query_one(TabbedContent).active = f"view-{view}"

    def focus_view(self) -> None:
        """Give the focus to the visible view."""
        self.query_one(f"#{self.view}").focus()

    def points(self) -> tuple[int, ...]:
        """Return the combinations under the cursor of the visible view."""
        found = self.found
        if found is None or found.wanted.view == "importance":
            return ()
        lines = self.query_one(f"#{found.wanted.view}", Lines)
        return drawn.points_at(found, lines.cursor, lines.column)

    def clear(self) -> None:
        """Empty every view."""
        self.found = None
        for lines in self.query(Lines):
            lines.empty = ""
            lines.show((), [])
        for note in self.query(".note, #importance-text").results(Static):
            note.update("")
        if self.query("#chart Chart"):
            self._chart().set_series(())

    def show(self, found: Found, content: drawn.Content) -> None:
        """Draw what was found in the view that it was found for."""
        self.found, self.content = found, content
        view = found.wanted.view
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

    def recolour(self) -> None:
        """Draw what was found in the colours of the theme that was chosen."""
        if self.found is not None:
            self.show(self.found, drawn.content(self.found, dark=self.app.current_theme.dark))

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

    def on_sweep_views_weighed(self, event: Weighed) -> None:
        self._weighing = None
        self._shares[event.key] = event.shares
        if self.is_mounted and self.found and self.found.wanted.view == "importance":
            self._show_importance(self.found)
