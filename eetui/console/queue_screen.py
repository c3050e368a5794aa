"""The runs that wait for the training thread of this console: put them in order, or take them out."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList, Static
from textual.widgets.option_list import Option

from core.store.reader import Query
from eetui.console.bench import Bench
from eetui.console.dialogs import Question

HINT = "K up  J down  x take out  X empty  esc close"
EMPTY, KEEP = "Empty the queue", "Keep it"


class QueueScreen(ModalScreen[None]):
    """The queue as a list that is up to date four times a second."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o,q", "dismiss", "Close", id="queue.close", tooltip="Close the queue"),
        Binding("j", "cursor(1)", "Down", show=False, id="queue.down", tooltip="Select the next run"),
        Binding("k", "cursor(-1)", "Up", show=False, id="queue.up", tooltip="Select the run before"),
        Binding("K,shift+up", "move(-1)", "Earlier", id="queue.earlier", tooltip="Train the run earlier"),
        Binding("J,shift+down", "move(1)", "Later", id="queue.later", tooltip="Train the run later"),
        Binding("x,delete", "take_out", "Take out", id="queue.take_out", tooltip="Take the run out of the queue"),
        Binding("X", "empty", "Empty", id="queue.empty", tooltip="Take all runs out of the queue"),
    ]
    CSS = """
    QueueScreen > .dialog { width: 60; max-width: 100%; }
    QueueScreen OptionList { height: auto; max-height: 12; border: none; background: $surface; padding: 0; }
    QueueScreen .hint { color: $text-muted; }
    """

    @property
    def bench(self) -> "Bench":
        """The app, by its own type."""
        assert isinstance(self.app, Bench)
        return self.app

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("Queue of this console")
            yield OptionList()
            yield Static(HINT, classes="hint", markup=False)

    def on_mount(self) -> None:
        self._shown: tuple[int, ...] | None = None
        self.refresh_list()
        self.query_one(OptionList).focus()
        self.set_interval(0.25, self.refresh_list)

    def refresh_list(self, select: int | None = None) -> None:
        """List what waits now; the cursor stays on its run, or goes to `select`."""
        waiting = self.bench.trainer.snapshot.queue
        options = self.query_one(OptionList)
        if waiting == self._shown and select is None:
            return
        run = self._selected() if select is None else select
        self._shown = waiting
        options.clear_options()
        options.add_options([Option(line) for line in self._lines(waiting)] or [Option("nothing waits", disabled=True)])
        if waiting:
            options.highlighted = waiting.index(run) if run in waiting else 0

    def _lines(self, waiting: tuple[int, ...]) -> list[str]:
        marks = ", ".join("?" * len(waiting))
        rows = {row["id"]: row for row in self.bench.reader.runs(Query(f"id IN ({marks})", waiting))}
        return [
            f"{place:>3}  {rows[run]['name']}  {rows[run]['method']} · seed {rows[run]['seed']}"
            for place, run in enumerate(waiting, start=1)
            if run in rows
        ]

    def _selected(self) -> int | None:
        index = self.query_one(OptionList).highlighted
        return self._shown[index] if self._shown and index is not None and index < len(self._shown) else None

    def action_cursor(self, direction: int) -> None:
        options = self.query_one(OptionList)
        if direction > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_move(self, direction: int) -> None:
        if (run := self._selected()) is not None:
            self.bench.trainer.move(run, direction)
            self.refresh_list(run)

    def action_take_out(self) -> None:
        if (run := self._selected()) is not None:
            self.bench.attempt(lambda: self.bench.trainer.cancel(run))
            self.refresh_list()

    def action_empty(self) -> None:
        waiting = len(self.bench.trainer.snapshot.queue)
        if waiting:
            self.bench.push_screen(Question(f"Take all {waiting} runs out of the queue?", (EMPTY, KEEP)), self._emptied)

    def _emptied(self, answer: str | None) -> None:
        if answer == EMPTY:
            self.bench.attempt(self.bench.trainer.clear)
            self.refresh_list()
