"""A switch without colour."""

from textual.content import Content
from textual.geometry import Size
from textual.widgets import Switch


class WordSwitch(Switch):
    """A switch that says whether it is on, where Textual's own is a bar whose colour tells."""

    DEFAULT_CSS = """
    WordSwitch { color: $foreground; }
    WordSwitch:focus { text-style: bold underline; }
    """

    def render(self) -> Content:
        return Content("[x] on " if self.value else "[ ] off")

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return len("[ ] off")
