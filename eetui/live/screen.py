"""The Live screen: a run's stages, the curves of the selected one, and its log; keys pause, stop and resume the run.

It reads the store only, so a run that another process trains, or a finished one, looks the same.
"""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from core.errors import RunLookupError
from core.state import StageState
from core.store.reader import Query
from eetui.drawing.histogram import histogram
from eetui.drawing.palette import Palette, palette
from eetui.drawing.steady_footer import SteadyFooter
from eetui.live.keys import LiveKeys
from eetui.live.measured_text import measured_table
from eetui.live.priced_text import priced_table
from eetui.live.situation import StageRow
from eetui.live.stage_charts import Siblings, stage_charts
from eetui.live.text import hint, queue_line, stage_facts, title
from eetui.live.timeline import Timeline
from eetui.live.timeline_text import active_index
from eetui.live.watching import Watching
from eetui.summary.profile import is_profiled, peak_of
from eetui.summary.profile_text import stage_profile

if TYPE_CHECKING:
    from eetui.live.stage_view import StageView

CATCH_UP_SECONDS = 0.01
WIDE, TALL = 110, 36
FACTS_WIDTH = 54
OTHER_LINES, FEWEST_LINES_OF_STAGES = 15, 4
"""Lines that the timeline leaves to the rest of the screen, and the fewest it takes."""


class LiveScreen(LiveKeys):
    """A run in training, or a finished one."""

    TITLE = "Live"
    AUTO_FOCUS = "StageView"
    HELP_TEXT = (
        "One run, stage by stage. The view follows the stage in progress until you select another; f follows again. "
        "≤ marks times that early stopping may cut short. Every PPL is of the split and the tokens it names: block 0 "
        "trains on all tokens, later blocks on hard ones."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "units", "PPL", id="live.units", tooltip="Switch the loss curves between nats and PPL"),
        Binding(
            "b",
            "behind",
            "Behind",
            id="live.behind",
            tooltip="Other runs of the experiment behind; marked ones stay",
        ),
        Binding("l", "log", "Log", id="live.log", tooltip="Show or hide the log"),
        Binding("t", "times", "Times", show=False, id="live.times", tooltip="Where the time of a profiled stage went"),
        Binding("f", "follow", "Follow", show=False, id="live.follow", tooltip="Follow what is newest"),
        Binding("up,k", "select(-1)", "Up", show=False, id="live.up", tooltip="Select the stage before"),
        Binding("down,j", "select(1)", "Down", show=False, id="live.down", tooltip="Select the next stage"),
        Binding("left_square_bracket", "sibling(-1)", "Before", show=False, id="live.before", tooltip="Previous run"),
        Binding("right_square_bracket", "sibling(1)", "After", show=False, id="live.after", tooltip="Next run"),
    ]
    CSS = """
    LiveScreen > .live--title { height: 1; padding: 0 1; background: $panel; }
    LiveScreen > .live--line { height: 1; padding: 0 1; color: $text-muted; }
    LiveScreen > .live--body { height: 1fr; }
    LiveScreen .live--left { height: auto; padding: 0 1; }
    LiveScreen.-wide StageView { padding: 0 1 0 2; }
    LiveScreen .live--facts { height: 1; }
    LiveScreen StageView { padding: 0 1; }
    LiveScreen LogPane { height: 6; }
    LiveScreen.-wide > .live--body { layout: horizontal; }
    LiveScreen.-wide .live--left { width: 56; height: 1fr; }
    LiveScreen.-wide .live--facts { height: 1fr; margin-top: 1; }
    LiveScreen.-tall LogPane { height: 12; }
    """

    def __init__(self, run: int) -> None:
        super().__init__()
        self.run = run
        self.selected: str | None = None
        """The selected stage; None: the one in progress, which is followed."""
        self.as_ppl = False
        self.behind = False
        self.times = False
        self._watching: Watching | None = None
        self._log_wanted: bool | None = None
        self._catching_up = False
        self._shown: dict[str, Text] = {}
        self._charted: tuple[StageState | None, bool, Siblings] = (None, False, {})

    def compose(self) -> ComposeResult:
        from eetui.live.log_pane import LogPane
        from eetui.live.stage_view import StageView  # numpy and textual-plot

        yield Static(classes="live--title", markup=False)
        with Container(classes="live--body"):
            with Vertical(classes="live--left"):
                yield Timeline()
                yield Static(classes="live--facts", markup=False)
            yield StageView()
        yield LogPane()
        yield Static(classes="live--line", markup=False)
        yield SteadyFooter()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show_title)

    @property
    def watching(self) -> Watching:
        """The run, and everything known of it."""
        if self._watching is None or self._watching.run != self.run:
            self._watching = Watching(self.bench.reader, self.run, self.bench.stray)
        return self._watching

    # Display

    def update(self) -> None:
        """Read what was added to the log, and draw what has changed."""
        if not self.ready:
            return
        if not self.query("StageView > Picture"):  # the screen is composed, its widgets are not yet
            self.call_after_refresh(self.bench.attempt, self.update)
            return
        try:
            self.watching.update(self.bench.trainer.snapshot)
        except RunLookupError as error:
            self.bench.notify(str(error), severity="warning", markup=False)
            self.call_later(self.bench.action_back)
            return
        self._show()
        if self.watching.following.behind and not self._catching_up:
            self._catching_up = True
            self.set_timer(CATCH_UP_SECONDS, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = False
        self.bench.attempt(self.update)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= WIDE, "-wide")
        self.set_class(self.size.height >= TALL, "-tall")
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        if self._watching is None or not self.ready:
            return
        self._show_log()
        self._show_title()
        self._show_line()
        rows = self.watching.stages
        index = self._selected_index(rows)
        self.query_one(Timeline).show(rows, index, max(self.size.height - OTHER_LINES, FEWEST_LINES_OF_STAGES))
        if rows:
            self._show_facts(rows[index])
            self._show_stage(rows[index])

    def _selected_index(self, rows: tuple[StageRow, ...]) -> int:
        names = [row.name for row in rows]
        return names.index(self.selected) if self.selected in names else active_index(rows)

    def _show_title(self) -> None:
        if self._watching is not None and self.query(".live--title"):
            text = title(self.watching.row, self.watching.situation, self.size.width - 2, self._style())
            self._put("live--title", text)

    def _show_facts(self, row: StageRow) -> None:
        wide = self.has_class("-wide")
        width = FACTS_WIDTH if wide else self.size.width - 2
        self._put("live--facts", stage_facts(row, self.watching.machine, width, self._style(), in_lines=wide))

    def _show_stage(self, row: StageRow) -> None:
        """Show the stage's curves, histogram or table."""
        stage, state, view = row.stage, self.watching.state, self._view()
        if stage is None:
            view.show_picture(row.name, row.status, lambda *_: Text())
        elif self.times:
            peak = peak_of(state)
            view.show_picture(row.name, (stage.profile, peak), lambda *size: stage_profile(stage, peak, *size))
        elif stage.kind in ("lm", "exit classifier"):
            self._show_charts(stage)
        elif (found := stage.threshold) is not None:
            view.show_picture(row.name, found, lambda width, height, style: histogram(found, width, height, style))
        elif stage.kind == "price":
            thresholds = tuple(other.threshold for other in state.stages)
            key = (state.priced, thresholds, state.measured, state.savings)
            view.show_picture(row.name, key, lambda width, _, style: priced_table(state, width, style))
        else:
            name = row.name
            view.show_picture(
                name,
                (state.measured, stage.seconds is None),
                lambda width, _, style: measured_table(state, name, width, style),
            )

    def _show_charts(self, stage: StageState) -> None:
        """Show the curves if they have changed; a stage without news is the same object as before."""
        siblings = self.watching.stages_behind(stage.name, self.bench.marked, experiment=self.behind)
        of = (stage, self.as_ppl, siblings)
        if of[0] is not self._charted[0] or of[1:] != self._charted[1:] or self._view().stage != stage.name:
            self._charted = of
            curve = self.watching.following.curves.get(stage.name)
            self._view().show_charts(stage.name, stage_charts(stage, curve, siblings, as_ppl=self.as_ppl))

    def _show_log(self) -> None:
        from eetui.live.log_pane import LogPane

        pane = self.query_one(LogPane)
        failed = self.watching.row["status"] == "failed"
        pane.display = self.has_class("-tall") or failed if self._log_wanted is None else self._log_wanted
        pane.show(self.watching.following)

    def _show_line(self) -> None:
        """Show the queue; if it is empty, which process trains the run, or which keys act on it."""
        now, width = self.bench.trainer.snapshot, self.size.width - 2
        names = {row["id"]: row["name"] for row in self.bench.reader.runs(_these(now.queue))} if now.queue else {}
        queued = [names.get(run, str(run)) for run in now.queue]
        waiting = queue_line(queued, now.requests, width, preparing=now.phase == "preparing")
        profiled = is_profiled(self.watching.state)
        text = waiting or hint(self.watching.row["status"], self.watching.elsewhere, profiled=profiled)
        self._put("live--line", Text(text, no_wrap=True, overflow="ellipsis"))

    def _put(self, place: str, text: Text) -> None:
        """Update a text if it has changed."""
        if self._shown.get(place) != text:
            self._shown[place] = text
            self.query_one(f".{place}", Static).update(text, layout=False)

    def _style(self) -> Palette:
        return palette(self.app.theme_variables)

    def _view(self) -> "StageView":
        from eetui.live.stage_view import StageView

        return self.query_one(StageView)

    # Keys

    def action_select(self, direction: int) -> None:
        rows = self.watching.stages
        if rows:
            index = min(max(self._selected_index(rows) + direction, 0), len(rows) - 1)
            self.selected = rows[index].name
            self._show()

    def on_timeline_clicked(self, event: Timeline.Clicked) -> None:
        self.selected = self.watching.stages[event.index].name
        self._show()

    def action_follow(self) -> None:
        self.selected = None
        self._show()
        for chart in self._view().charts:
            chart.follow()

    def action_units(self) -> None:
        self.as_ppl = not self.as_ppl
        self._show()

    def action_behind(self) -> None:
        self.behind = not self.behind
        self._show()

    def action_times(self) -> None:
        self.times = not self.times
        self._show()

    def action_log(self) -> None:
        from eetui.live.log_pane import LogPane

        self._log_wanted = not self.query_one(LogPane).display
        self.call_after_refresh(self._show)

    def action_sibling(self, direction: int) -> None:
        run = self.watching.neighbour(direction)
        if run is None:
            self.bench.say("the experiment has no further run")
        else:
            self.run = run
            self.update()


def _these(runs: tuple[int, ...]) -> Query:
    return Query(f"id IN ({', '.join('?' * len(runs))})", runs)
