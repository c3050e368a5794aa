"""The app as screens use it: the store, the training thread, shared state, and other screens by name."""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.filter import LineFilter

from core.errors import EetuiError
from eetui.console.harmless_lines import HarmlessLines
from eetui.console.marks import Marks
from eetui.console.settings import Settings
from eetui.console.terminal import StrayOutput
from eetui.console.training_thread import Trainer
from eetui.drawing.harmless import harmless
from eetui.summary.shown_reader import ShownReader

if TYPE_CHECKING:
    from core.session.plan import Plan
    from core.store.writer import Writer

HARMLESS = HarmlessLines()


class Bench(App[None]):
    """Base of the app, with everything that screens ask of it."""

    def __init__(self, database: Path, settings: Settings, stray: StrayOutput) -> None:
        """Open a database, which is created if it is missing.

        Raises:
            StoreError: the database can't be opened.
        """
        super().__init__()
        self.database, self.settings, self.stray = database, settings, stray
        if not database.exists():
            with self.writing():
                pass
        self.reader = ShownReader(database)
        self.trainer = Trainer(database)
        self.marked: Marks = {}
        """Marked runs, in the order they were marked."""
        self.kept: dict[str, Any] = {}
        """Values that screens keep for the next time they are opened, each under a name of its own."""

    @contextlib.contextmanager
    def writing(self) -> "Iterator[Writer]":
        """Open a connection to write a few rows through."""
        from core.store.writer import Writer

        with Writer(self.database) as writer:
            yield writer

    def attempt(self, work: Callable[[], object]) -> bool:
        """Call `work`; show an `EetuiError` to the user and return False if it raises one."""
        try:
            work()
        except EetuiError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)
            return False
        return True

    def train(self, plan: "Plan") -> None:
        """Queue an experiment."""
        self.trainer.submit(plan)
        self.look_for_news()

    def resume_runs(self, runs: Sequence[int]) -> None:
        """Queue interrupted or failed runs to be resumed."""
        self.trainer.resume_runs(runs)
        self.look_for_news()

    def copy(self, text: str) -> None:
        """Copy text to the clipboard, also over SSH, and to a file for terminals that refuse.

        It may be pasted into a shell, so nothing in it is a control character.
        """
        from eetui.console.export import export

        text = harmless(text)
        self.copy_to_clipboard(text)
        self.attempt(lambda: self.notify(f"copied; also in {export('copied.txt', text)}", markup=False))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the filters of every line that is drawn: last, all that a terminal would obey is taken out."""
        return (*super().get_line_filters(), HARMLESS)

    @abstractmethod
    def open(self, screen: str, *runs: int) -> None:
        """Open a screen by its name, for these runs."""

    @abstractmethod
    async def action_back(self) -> None:
        """Return to the screen before; on the first one do nothing."""

    @abstractmethod
    def look_for_news(self) -> None:
        """Start the training thread if there is work for it, and let the screen read what is new."""
