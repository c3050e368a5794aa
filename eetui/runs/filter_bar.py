"""The line in which a list of runs is filtered."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from core.errors import UsageError
from eetui.runs.filters import FIGURES, TEXT_FIELDS, parse, without_the_unfinished

LANGUAGE = f"{' '.join(f'{field}:' for field in ('tag', *TEXT_FIELDS))} · {' '.join(FIGURES)} < <= > >= ="


class FilterBar(Vertical):
    """An input of filter words and, while it has the focus, a line with the language or the error."""

    DEFAULT_CSS = """
    FilterBar { height: auto; }
    FilterBar Input, FilterBar Input:focus { height: 1; border: none; padding: 0 1; background: $surface; }
    FilterBar Static {
        display: none; height: 1; padding: 0 1; color: $text-muted; text-overflow: ellipsis; text-wrap: nowrap;
    }
    FilterBar.-wrong Static { color: $text-error; }
    FilterBar:focus-within Static, FilterBar.-wrong Static { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,down", "leave", "To the runs", id="filter.leave", tooltip="Back to the list"),
    ]

    @dataclass
    class Changed(Message):
        """The filter has changed to another valid one."""

        words: str

    class Left(Message):
        """The focus should go back to the list."""

    def compose(self) -> ComposeResult:
        yield Input(placeholder="/ filter: method:loss ppl<900 tag:x status:failed text")
        yield Static(LANGUAGE, markup=False)

    def write(self) -> None:
        """Focus the input."""
        self.query_one(Input).focus()

    def clear(self) -> None:
        """Clear the filter."""
        self.query_one(Input).value = ""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._read(without_the_unfinished(event.value))

    def _read(self, words: str) -> None:
        """Filter by these words; words that can't be parsed change nothing."""
        problem = ""
        try:
            parse([words])
        except UsageError as error:
            problem = f"! {error}"
        else:
            self.post_message(self.Changed(words))
        self.set_class(bool(problem), "-wrong")
        self.query_one(Static).update(problem or LANGUAGE)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_leave()

    def action_leave(self) -> None:
        self._read(self.query_one(Input).value)
        self.post_message(self.Left())
