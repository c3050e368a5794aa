"""The help screen: the keys of the screen beneath, and its purpose."""

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from eetui.console.keys import Key


class HelpScreen(ModalScreen[None]):
    """Every key that works on the screen beneath, with its id for the settings file."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "app.pop_screen", "Close", id="help.close", tooltip="Close the help"),
    ]

    def __init__(self, title: str, text: str, keys: Sequence[Key]) -> None:
        super().__init__()
        self.heading, self.text, self.keys = title, text, keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="help"):
            yield Static(help_text(self.heading, self.text, self.keys), markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def help_text(title: str, text: str, keys: Sequence[Key]) -> RenderableType:
    """Draw the screen's purpose, then one key per line."""
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for head in ("key", "does", "id"):
        table.add_column(head, overflow="fold", style="dim" if head == "id" else "")
    for key in keys:
        table.add_row(Text(key.keys, style="bold"), Text(key.does), Text(key.id))
    remap = 'Keys are remapped by id in the settings file: [keys] "runs.mark" = "m"'
    return Group(Text(title, style="bold"), Text(text), Text(), table, Text(), Text(remap, style="dim"))
