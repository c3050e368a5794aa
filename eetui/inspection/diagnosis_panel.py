"""Where a run's perplexity went, shown as it becomes known: the last block's way needs the model, and takes a while."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static
from textual.worker import get_current_worker

from core.errors import EetuiError
from eetui.drawing.palette import palette

if TYPE_CHECKING:  # numpy and pydantic: imported by the thread that measures
    from core.analysis.diagnose_run import Diagnosed

LOOK_SECONDS = 0.25
"""The panel follows the thread that measures at most this often."""


class DiagnosisPanel(VerticalScroll, can_focus=True, inherit_bindings=False):
    """Measures once, on a thread, while it is open; what is found stays."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k,up", "scroll_up", "Up", show=False, id="diagnosis.up", tooltip="Scroll the diagnosis up"),
        Binding("j,down", "scroll_down", "Down", show=False, id="diagnosis.down", tooltip="Scroll the diagnosis down"),
        Binding("pageup", "page_up", "Page up", show=False, id="diagnosis.page_up", tooltip="A page up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="diagnosis.page_down", tooltip="A page down"),
        Binding("home", "scroll_home", "Top", show=False, id="diagnosis.top", tooltip="Top of the diagnosis"),
        Binding("end", "scroll_end", "End", show=False, id="diagnosis.end", tooltip="End of the diagnosis"),
    ]
    DEFAULT_CSS = """
    DiagnosisPanel { height: 1fr; padding: 1 1 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Diagnosed | None = None
        """What is known so far."""
        self._problem = ""
        self._shown: object = None

    def compose(self) -> ComposeResult:
        yield Static(id="diagnosis", markup=False)

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self._look)

    @property
    def complete(self) -> bool:
        return self.found is not None and not self.found.measuring

    def open(self, database: Path, run: int) -> None:
        """Begin to measure, unless that is done."""
        if not self.complete:
            self._problem = ""
            self._measure(database, run)
        self._look()

    def stop(self) -> None:
        """Nobody looks any more."""
        self.workers.cancel_node(self)

    @work(thread=True, exclusive=True, group="diagnosis")
    def _measure(self, database: Path, run: int) -> None:
        """Until all is known or nobody looks any more; through a reader of this thread's own."""
        worker = get_current_worker()
        from core.analysis.diagnose_run import diagnosis_steps
        from core.store.reader import Reader

        try:
            with Reader(database) as reader:
                for found in diagnosis_steps(reader, run):
                    if worker.is_cancelled:
                        return
                    self.found = found
        except EetuiError as error:
            self._problem = str(error)

    def _look(self) -> None:
        """Draw what is new."""
        width = self.scrollable_content_region.width
        state = (self.found, self._problem, width)
        if width > 0 and state != self._shown:
            self._shown = state
            self._show(width)

    def _show(self, width: int) -> None:
        text = self.query_one("#diagnosis", Static)
        if self._problem or self.found is None:
            text.update(Text(self._problem or "reading what the store keeps of the run …"))
            return
        from eetui.inspection.diagnosis_text import diagnosis_lines

        text.update(diagnosis_lines(self.found, width, palette(self.app.theme_variables)))
