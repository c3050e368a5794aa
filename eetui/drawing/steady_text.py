"""Text whose figures change and whose lines do not: the screen is not laid out anew for it."""

from rich.text import Text
from textual.widgets import Static


class SteadyText(Static):
    """Draws what differs only, and moves nothing unless the number of lines changes."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every Textual widget calls it
        super().__init__(id=id, markup=False)
        self._text: Text | None = None

    def show(self, text: Text) -> None:
        before, self._text = self._text, text
        if before is None or before != text:
            self.update(text, layout=before is None or before.plain.count("\n") != text.plain.count("\n"))
