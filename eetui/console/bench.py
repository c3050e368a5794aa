"""What screens ask of the app: the store, the training thread, what they have in common, and other screens."""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App

from core.errors import EetuiError
from core.store.reader import Reader
from eetui.console.marks import Marks
from eetui.console.settings import Settings
from eetui.console.terminal import StrayOutput
from eetui.console.training_thread import Trainer

if TYPE_CHECKING:
    from core.session.plan import Plan
    from core.store.writer import Writer


class Bench(App[None]):
    """The app as its screens know it."""

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
        self.reader = Reader(database)
        self.trainer = Trainer(database)
        self.marked: Marks = {}
        """Marked runs, in the order they were marked."""
        self.kept: dict[str, Any] = {}
        """What screens leave for the next time they are opened, by a name of their own."""

    @contextlib.contextmanager
    def writing(self) -> "Iterator[Writer]":
        """A connection to write a few rows through; what goes wrong is shown, and the screen goes on."""
        from core.store.writer import Writer

        with Writer(self.database) as writer:
            yield writer

    def attempt(self, work: Callable[[], object]) -> bool:
        """Do something that may fail in a way the user can act on; False, and the message shown, where it did."""
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
        """Let interrupted or failed runs go on."""
        self.trainer.resume_runs(runs)
        self.look_for_news()

    def copy(self, text: str) -> None:
        """To the clipboard, also over SSH, and to a file for terminals that refuse."""
        from eetui.console.export import export

        self.copy_to_clipboard(text)
        self.attempt(lambda: self.notify(f"copied; also in {export('copied.txt', text)}", markup=False))

    @abstractmethod
    def open(self, screen: str, *runs: int) -> None:
        """Show a screen, by its name, for the runs it is about."""

    @abstractmethod
    async def action_back(self) -> None:
        """Return to the screen before; on the first one do nothing."""

    @abstractmethod
    def look_for_news(self) -> None:
        """Start the training thread where it is wanted, and let the screen look at what is new."""
