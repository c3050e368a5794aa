"""Text whose figures change while its lines stay: updating it needs no new layout."""

from rich.text import Text
from textual.widgets import Static


class SteadyText(Static):
    """Redraws only if its text changed, and asks for a layout only if its number of lines did."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id, markup=False)
        self._text: Text | None = None

    def show(self, text: Text) -> None:
        before, self._text = self._text, text
        if before is None or before != text:
            self.update(text, layout=before is None or before.plain.count("\n") != text.plain.count("\n"))
