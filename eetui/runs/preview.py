"""The pane that shows the run under the cursor."""

from typing import Any, Literal, get_args

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from core.state import RunState
from eetui.drawing.palette import palette
from eetui.runs.preview_text import run_preview

BESIDE_WIDTH, BELOW_HEIGHT, TOGGLED_BELOW_HEIGHT = 120, 36, 18
Preview = tuple[dict[str, Any], RunState]

Place = Literal["beside", "below", "line"]
PLACES: tuple[Place, ...] = get_args(Place)


def preview_place(width: int, height: int, toggled: bool) -> Place:
    """Return the preview's place on a terminal of that size; `toggled` hides it, or shows it where it was hidden."""
    natural: Place = "beside" if width >= BESIDE_WIDTH else "below" if height >= BELOW_HEIGHT else "line"
    if not toggled:
        return natural
    return "below" if natural == "line" and height >= TOGGLED_BELOW_HEIGHT else "line"


class RunPreview(VerticalScroll, can_focus=False):
    """Summary of a run, drawn again when its own width or the theme changes."""

    DEFAULT_CSS = """
    RunPreview { padding: 0 1; scrollbar-size-vertical: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._content: Preview | None = None

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, content: Preview | None) -> None:
        """Show another run, or none."""
        self._content = content
        self._draw()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw())

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width
        style = palette(self.app.theme_variables)
        self.query_one(Static).update(run_preview(*self._content, style, width) if self._content else "")
