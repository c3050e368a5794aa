"""Keys of the Live screen that act on its run and on the queue."""

from typing import ClassVar

from textual.binding import Binding, BindingType

from eetui.console.dialogs import Question
from eetui.console.marks import toggle
from eetui.console.run_actions import RunActions
from eetui.console.screen import BenchScreen
from eetui.live.watching import Watching

INTERRUPT, GO_ON = "Interrupt it", "Let it train"


class LiveKeys(BenchScreen):
    """A screen of one run, with the keys that act on it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,space", "pause", "Pause", id="live.pause", tooltip="Pause after the step, or go on"),
        Binding("x", "cancel", "Stop", id="live.cancel", tooltip="Interrupt the run after its step"),
        Binding("r", "resume", "Resume", show=False, id="live.resume", tooltip="Resume an interrupted or failed run"),
        Binding("o", "queue", "Queue", show=False, id="live.queue", tooltip="Reorder or empty the queue"),
        Binding("i", "inspect", "Inspect", show=False, id="live.inspect", tooltip="Look into the run token by token"),
        Binding("w", "generate", "Write", show=False, id="live.generate", tooltip="Let the run write a text"),
        Binding("c", "compare", "Compare", show=False, id="live.compare", tooltip="Compare the experiment's runs"),
        Binding("m", "mark", "Mark", show=False, id="live.mark", tooltip="Mark the run, or unmark it"),
        Binding("y", "copy", "Copy", show=False, id="live.copy", tooltip="Copy the command that trains this run"),
    ]

    @property
    def watching(self) -> Watching:
        """The run, and everything known of it."""
        raise NotImplementedError

    def action_pause(self) -> None:
        trainer, phase = self.bench.trainer, self.watching.phase
        if phase == "training":
            trainer.pause()
        elif phase == "paused":
            trainer.unpause()
        else:
            self.bench.say(self.watching.why_not_paused)
        self.update()

    def action_cancel(self) -> None:
        row, phase = self.watching.row, self.watching.phase
        if phase in ("training", "paused"):
            text = f"Interrupt {row['name']} after its step?\nIts checkpoint stays, and it can be resumed."
            self.bench.push_screen(Question(text, (INTERRUPT, GO_ON)), self._cancel_answered)
        else:
            self._actions().cancel(row)

    def _cancel_answered(self, answer: str | None) -> None:
        if answer == INTERRUPT:
            self._actions().cancel(self.watching.row)

    def action_resume(self) -> None:
        self._actions().resume(self.watching.row)

    def action_inspect(self) -> None:
        self._actions().inspect(self.watching.row)

    def action_generate(self) -> None:
        self._actions().generate(self.watching.row)

    def action_copy(self) -> None:
        self._actions().copy_command(self.watching.row)

    def action_compare(self) -> None:
        self._actions().compare_experiment(self.watching.row)

    def action_mark(self) -> None:
        toggle(self.bench.marked, self.watching.run)
        word = "marked" if self.watching.run in self.bench.marked else "no longer marked"
        self.bench.say(f"{self.watching.row['name']} is {word}")

    def action_queue(self) -> None:
        from eetui.console.queue_screen import QueueScreen

        self.bench.push_screen(QueueScreen())

    def _actions(self) -> RunActions:
        return RunActions(self.bench)
