"""The switch and the fields of speculation on the Generate screen."""

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Label, Switch

from eetui.drawing.word_switch import WordSwitch
from eetui.generate.numbers import number, whole_number

if TYPE_CHECKING:
    from core.early_exit.draft_length import Drafting

FIELDS = (
    ("exit", "exit", "0", "block that drafts"),
    ("draft", "drafts", "", "priced"),
    ("until", "until signal <", "", "–"),
)
"""Name, label, first value and placeholder of each field."""


class DraftingRow(Horizontal):
    """Says whether and how to speculate; the fields are there while the switch is on."""

    DEFAULT_CSS = """
    DraftingRow {
        height: 1; margin: 1 1 0 1;
        Switch, Switch:focus { height: 1; border: none; padding: 0; margin: 0 2 0 0; background: $panel; }
        Label { color: $text-muted; padding: 0 1 0 0; }
        Input { width: 8; height: 1; border: none; margin: 0 1 0 0; padding: 0; background: $panel; }
        .field { display: none; }
        &.-on .field { display: block; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Label("speculate")
        yield WordSwitch(id="speculate", animate=False)
        for name, label, value, meaning in FIELDS:
            yield Label(label, classes="field")
            yield Input(value, placeholder=meaning, id=name, classes="field")

    def on_switch_changed(self, event: Switch.Changed) -> None:
        self.set_class(event.value, "-on")

    def toggle(self) -> None:
        """Turn the switch."""
        self.query_one(Switch).toggle()

    def drafting(self) -> "Drafting | None":
        """Return how to speculate; None: not at all.

        Raises:
            UsageError: a field is not a number.
        """
        if not self.query_one(Switch).value:
            return None
        from core.early_exit.draft_length import Drafting

        exit_, draft, until = (self.query_one(f"#{name}", Input).value.strip() for name, *_ in FIELDS)
        return Drafting(
            whole_number("exit", exit_) or 0,
            whole_number("drafts", draft),
            number("until signal <", until, None),
        )
