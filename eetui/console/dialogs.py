"""Dialogs over a screen: choose an answer, or write a line."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from core.errors import EetuiError


class Question(ModalScreen[str | None]):
    """A question with its answers as buttons; escape dismisses it with None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_with_nothing", "Cancel", id="dialog.cancel", tooltip="Close without an answer"),
        Binding("left,h", "app.focus_previous", "Previous", show=False, id="dialog.previous", tooltip="Answer before"),
        Binding("right,l", "app.focus_next", "Next", show=False, id="dialog.next", tooltip="Next answer"),
    ]

    def __init__(self, text: str, answers: Sequence[str]) -> None:
        """Ask `text`; the last answer has the focus."""
        super().__init__()
        self.text, self.answers = text, answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(self.text, markup=False)
            with Horizontal(classes="buttons"):
                for answer in self.answers:
                    yield Button(answer, name=answer)

    def on_mount(self) -> None:
        self.query(Button).last().focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.name)

    def action_dismiss_with_nothing(self) -> None:
        self.dismiss(None)


class Prompt(ModalScreen[str | None]):
    """An input of one line; `check` raises an `EetuiError` that says what is wrong with the text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_with_nothing", "Cancel", id="dialog.cancel", tooltip="Close and change nothing"),
    ]

    def __init__(self, text: str, value: str = "", check: Callable[[str], object] = str) -> None:
        super().__init__()
        self.text, self.value, self.check = text, value, check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(self.text, markup=False)
            yield Input(self.value)
            yield Label("", classes="problem", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.check(event.value)
        except EetuiError as error:
            self.query_one(".problem", Label).update(str(error))
            return
        self.dismiss(event.value)

    def action_dismiss_with_nothing(self) -> None:
        self.dismiss(None)
