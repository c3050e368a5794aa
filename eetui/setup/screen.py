"""The New screen: a form made from the config, the experiment's estimate, and the queue."""

from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.geometry import Size
from textual.widgets import Button, Input, Static

from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.session.plan import Plan
from core.store.reader import Query
from eetui.console.screen import BenchScreen
from eetui.console.training_thread import Snapshot
from eetui.drawing.figures import number_of
from eetui.drawing.steady_footer import SteadyFooter
from eetui.setup.draft import Draft
from eetui.setup.estimate_panel import INVALID, TYPING, EstimatePanel
from eetui.setup.fields import FIELDS, NAME
from eetui.setup.form import FieldRow, Form
from eetui.setup.form_text import Queue, about_field, form_title, queue_line, queue_list

WIDE = 120
"""Fewest columns at which the estimate is beside the form."""
TALL = 18
"""Fewest lines at which the estimate is shown."""
KEPT_AS = "draft"
"""Key under which the app keeps the form between visits."""


class NewScreen(BenchScreen):
    """Shows the form as it was left."""

    HELP_TEXT = (
        "Choose methods and seeds, change what you like of the preset, and start: every method is trained with every "
        "seed, one run after another. • marks what you changed. Below or beside the form stands what all runs together "
        "will take, from a short measurement on this machine: at least if every block is best after its first epoch, "
        "at most if it trains for all of max_epochs. Escape leaves; the form is kept."
    )
    CSS = """
    NewScreen #title { height: 1; padding: 0 1; background: $panel; }
    NewScreen #body { height: 1fr; }
    NewScreen Form { height: 1fr; }
    NewScreen #side { height: auto; border-top: solid $panel; }
    NewScreen #about { height: 3; padding: 0 1; }
    NewScreen #last { height: 1; padding: 0 1; }
    NewScreen #queue { width: 1fr; }
    NewScreen #queue-list { display: none; padding: 1 1 0 1; height: 1fr; }
    NewScreen #start { min-width: 18; }
    NewScreen.-short #about { height: 1; }
    NewScreen.-short EstimatePanel { display: none; }
    NewScreen.-wide #body { layout: horizontal; }
    NewScreen.-wide Form { width: 1fr; height: 100%; }
    NewScreen.-wide #side { width: 41; height: 100%; border-top: none; border-left: vkey $panel; }
    NewScreen.-wide #about { height: 6; }
    NewScreen.-wide EstimatePanel .lines { display: none; }
    NewScreen.-wide EstimatePanel .table { display: block; }
    NewScreen.-wide #queue { visibility: hidden; }
    NewScreen.-wide #queue-list { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start", id="new.start", tooltip="Queue the runs"),
        Binding("ctrl+r", "reset", "Reset", id="new.reset", tooltip="Give the field the preset's value again"),
        Binding(
            "ctrl+o,o", "queue", "Queue", id="new.queue", tooltip="Put the waiting runs in order, or take them out"
        ),
        Binding("up", "app.focus_previous", "Up", show=False, id="new.previous", tooltip="Go to the field before"),
        Binding("down", "app.focus_next", "Down", show=False, id="new.next", tooltip="Go to the next field"),
        Binding("pageup", "section(-1)", "Section", show=False, id="new.section_up", tooltip="Go up a section"),
        Binding("pagedown", "section(1)", "Section", show=False, id="new.section_down", tooltip="Go down a section"),
    ]

    def __init__(self, config: RunConfig | None = None, preset: str | None = None) -> None:
        """Start from a run's config and preset, or from the form as it was left."""
        super().__init__()
        self._given = None if config is None else Draft.of_config(config, preset)
        self._seen: object = None
        self._unread = False

    def compose(self) -> ComposeResult:
        self.draft = self._given or self._draft_left()
        self._fit(self.app.size)  # before widgets exist, so that they are styled once
        yield Static(id="title", markup=False)
        with Container(id="body"):
            yield Form(tuple(FIELDS.values()), self.draft.values())
            with Vertical(id="side"):
                yield Static(id="about", markup=False)
                yield EstimatePanel(self._trains)
                yield Static(id="queue-list", markup=False)
                with Horizontal(id="last"):
                    yield Static(id="queue", markup=False)
                    yield Button("Start", id="start", variant="primary", compact=True, tooltip="Queue the runs")
        yield SteadyFooter()

    def on_mount(self) -> None:
        self._show()
        self.form.go_to(next(iter(FIELDS)))

    def on_resize(self, event: events.Resize) -> None:
        self._fit(event.size)

    def _fit(self, size: Size) -> None:
        self.set_class(size.width >= WIDE, "-wide")
        self.set_class(size.height < TALL, "-short")

    @property
    def form(self) -> Form:
        return self.query_one(Form)

    def _draft_left(self) -> Draft:
        """Return the form as it was left, without its name if that has been used meanwhile."""
        draft: Draft = self.bench.kept.get(KEPT_AS, Draft())
        try:
            self._require_free(draft.plan())
        except ConfigError as error:
            return draft.reset(NAME) if NAME in error.reasons and not draft.problems() else draft
        return draft

    # Display

    def update(self) -> None:
        """Show the queue as it is now."""
        now = self.bench.trainer.snapshot
        if now != self._seen:
            self._seen = now
            queue = self._queue(now)
            self.query_one("#queue", Static).update(queue_line(queue), layout=False)
            self.query_one("#queue-list", Static).update(queue_list(queue), layout=False)

    def _queue(self, now: Snapshot) -> Queue:
        wanted = (*now.queue, *(() if now.run is None else (now.run,)))
        marks = ", ".join("?" * len(wanted))
        names = {row["id"]: row["name"] for row in self.bench.reader.runs(Query(f"id IN ({marks})", wanted))}
        waiting = tuple(names[run] for run in now.queue if run in names)
        return Queue(names.get(now.run), waiting, now.phase == "preparing" or now.requests > 0)

    def _show(self) -> None:
        problems, draft = self.draft.problems(), self.draft
        self.form.show(draft.values(), draft.edits, problems, draft.unused())
        title = form_title(draft.preset, len(draft.edits), draft.runs, len(problems))
        self.query_one("#title", Static).update(title, layout=False)
        self._show_about()
        panel = self.query_one(EstimatePanel)
        if problems:
            panel.forget(INVALID)
        elif self._unread:
            panel.forget(TYPING)
        else:
            panel.ask(draft)

    def _show_about(self) -> None:
        row = self.form.focused_row
        if row is not None:
            name = row.field.name
            about = about_field(
                row.field,
                self.draft.preset_raw(name),
                changed=name in self.draft.edits,
                unused=self.draft.unused().get(name, ""),
            )
            self.query_one("#about", Static).update(about, layout=False)

    def _trains(self) -> bool:
        """Whether a run is training in this console or, as the database says, elsewhere."""
        busy = self.bench.trainer.snapshot.phase not in ("idle", "paused")
        return busy or any(row["status"] == "running" for row in self.bench.reader.live())

    # Keys and input

    def on_field_row_edited(self, event: FieldRow.Edited) -> None:
        self._unread = event.row.field.names_a_source
        self._take(self.draft.edited(event.row.field.name, event.raw))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._show_about()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if self._unread:
            self._unread = False
            self.call_later(self._show)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.call_later(self.action_start)

    def action_reset(self) -> None:
        row = self.form.focused_row
        if row is not None:
            self._take(self.draft.reset(row.field.name))

    def action_section(self, direction: int) -> None:
        self.form.go_to_section(direction)

    def action_queue(self) -> None:
        from eetui.console.queue_screen import QueueScreen

        self.bench.push_screen(QueueScreen())

    async def action_start(self) -> None:
        """Queue the runs and leave, or focus the first field that is not valid."""
        try:
            plan = self.draft.plan()
            self._require_free(plan)
        except ConfigError as error:
            name, reason = next(iter(error.reasons.items()))
            self.form.rows[name].show(self.draft.raw(name), changed=name in self.draft.edits, problem=reason)
            self.form.go_to(name)
            self.notify(f"{name} {reason}", title="not started", severity="error", markup=False)
            return
        if not self.bench.train(replace(plan, speed=self.query_one(EstimatePanel).speed)):
            return
        self.notify(f"{number_of(len(plan.configs), 'run')} queued")
        await self.bench.action_back()

    def _require_free(self, plan: Plan) -> None:
        """Refuse names that are taken, before the corpus is read.

        Raises:
            ConfigError: a name is taken.
        """
        names = tuple(name for name in plan.names if name)
        taken = self.bench.reader.runs(Query(f"name IN ({', '.join('?' * len(names))})", names, limit=1))
        if taken:
            reason = f"must be another: {taken[0]['name']!r} is run {taken[0]['id']}"
            raise ConfigError(f"{NAME} {reason}", {NAME: reason})

    def _take(self, draft: Draft) -> None:
        self.draft = self.bench.kept[KEPT_AS] = draft
        self._show()
