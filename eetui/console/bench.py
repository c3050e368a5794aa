"""The app as screens use it: the store, the training thread, shared state, and other screens by name."""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.filter import LineFilter

from core.errors import EetuiError, StoreError
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
    from eetui.trackers.contract import Trackers

HARMLESS = HarmlessLines()


class Bench(App[None]):
    """Base of the app, with everything that screens ask of it."""

    def __init__(
        self,
        database: Path,
        settings: Settings,
        stray: StrayOutput,
        read_only: bool = False,
        mirrors: "Trackers" = (),
    ) -> None:
        """Open a database, which is created if it is missing; with `read_only` nothing is ever written to it.

        Raises:
            StoreError: the database can't be opened.
        """
        super().__init__()
        self.database, self.settings, self.stray, self.read_only = database, settings, stray, read_only
        if not (database.exists() or read_only):
            with self.writing():
                pass
        self.reader = ShownReader(database)
        self.trainer = Trainer(database, settings.on_end, mirrors)
        self.marked: Marks = {}
        """Marked runs, in the order they were marked."""
        self.kept: dict[str, Any] = {}
        """Values that screens keep for the next time they are opened, each under a name of its own."""

    @contextlib.contextmanager
    def closed_if_refused(self) -> "Iterator[None]":
        """Close the database again if the block, which ends the construction of an app, raises."""
        try:
            yield
        except BaseException:
            self.reader.close()
            raise

    @property
    def place(self) -> str:
        """The database, and whether it is only read."""
        return f"{self.database}, read only" if self.read_only else str(self.database)

    @contextlib.contextmanager
    def writing(self) -> "Iterator[Writer]":
        """Open a connection to write a few rows through.

        Raises:
            StoreError: the console only reads, or the database can't be written.
        """
        self.require_writable()
        from core.store.writer import Writer

        with Writer(self.database) as writer:
            yield writer

    def require_writable(self) -> None:
        """Refuse whatever changes runs where the console only reads.

        Raises:
            StoreError: it was opened to read only.
        """
        if self.read_only:
            raise StoreError(
                "this console only reads: nothing is trained or changed here; start eetui by itself for that"
            )

    def attempt(self, work: Callable[[], object]) -> bool:
        """Call `work`; show an `EetuiError` to the user and return False if it raises one."""
        try:
            work()
        except EetuiError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)
            return False
        return True

    def say(self, text: str) -> None:
        """Notify the user."""
        self.notify(text, markup=False)

    def export(self, name: str, text: Callable[[], str]) -> None:
        """Write a text to a file of that name and show where it is, or why it can't be made or written."""
        from eetui.console.export import export

        self.attempt(lambda: self.say(f"exported to {export(name, text()).resolve()}"))

    def train(self, plan: "Plan") -> bool:
        """Queue an experiment; return whether this console trains."""
        return self.attempt(self.require_writable) and self._ask(lambda: self.trainer.submit(plan))

    def resume_runs(self, runs: Sequence[int]) -> bool:
        """Queue interrupted or failed runs to be resumed; return whether this console trains."""
        return self.attempt(self.require_writable) and self._ask(lambda: self.trainer.resume_runs(runs))

    def _ask(self, request: Callable[[], None]) -> bool:
        request()
        self.look_for_news()
        return True

    def copy(self, text: str) -> None:
        """Copy text to the clipboard, also over SSH, and to a file for terminals that refuse.

        It may be pasted into a shell, so nothing in it is a control character.
        """
        from eetui.console.export import export

        text = harmless(text)
        self.copy_to_clipboard(text)
        self.attempt(lambda: self.say(f"copied; also in {export('copied.txt', text)}"))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the filters of every line that is drawn: last, all that a terminal would obey is taken out."""
        return (*super().get_line_filters(), HARMLESS)

    @abstractmethod
    def open(self, screen: str, *runs: int) -> None:
        """Open a screen by its name, for these runs."""

    @abstractmethod
    def draw(self, figure: str, *arguments: object) -> None:
        """Ask for a format, and write a figure, named as in the app's table, with its numbers beside it."""

    @property
    @abstractmethod
    def link_free(self) -> bool:
        """Whether the terminal's link has had time for all that was written."""

    @abstractmethod
    async def action_back(self) -> None:
        """Return to the screen before; on the first one do nothing."""

    @abstractmethod
    def look_for_news(self) -> None:
        """Start the training thread if there is work for it, and let the screen read what is new."""
