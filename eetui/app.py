"""The console: its screens, the thread that trains, and how it ends.

Nothing here imports torch: the first frame must not wait for it. The training thread does, when it has to.
"""

import asyncio
import contextlib
import difflib
import importlib
import os
import pkgutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen

from core.errors import ConfigError, EetuiError
from core.state import LIVE
from core.store.reader import Query
from eetui.console.bench import Bench
from eetui.console.dialogs import Question
from eetui.console.keys import active_keys
from eetui.console.screen import BenchScreen
from eetui.console.settings import DEFAULTS, Settings
from eetui.console.terminal import NOTHING, StrayOutput, stray_output_kept
from eetui.console.training_thread import Request
from eetui.drawing.themes import THEMES
from eetui.runs.screen import RunsScreen

UPDATE_SECONDS = 0.5
"""Screens look for news at most this often. Twice a second looks alive; four times costs a training 10% of its speed
where two cores share their units (benchmarks/console.py)."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LEAVE, STAY = "Stop and quit", "Stay"
SCREENS = {
    "new": "eetui.setup.screen:NewScreen",
    "live": "eetui.live.screen:LiveScreen",
    "compare": "eetui.compare.screen:CompareScreen",
    "inspect": "eetui.inspection.screen:InspectScreen",
    "generate": "eetui.generate.screen:GenerateScreen",
}
"""Where the screens are that others open, by name."""


class EetuiApp(Bench):
    """The lab bench."""

    TITLE = "eetui"
    CSS_PATH = "eetui.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", id="app.help", tooltip="Show the keys of this screen"),
        Binding("n", "new", "New", id="app.new", tooltip="Set up new runs"),
        Binding("q,ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave eetui; asks first while training"),
        Binding("ctrl+t", "toggle_theme", "Theme", show=False, id="app.theme", tooltip="Switch dark and light"),
    ]

    def __init__(
        self,
        database: Path,
        settings: Settings = DEFAULTS,
        request: "Request | None" = None,
        stray: StrayOutput = NOTHING,
    ) -> None:
        """Open the console on a database, which is created if it is missing, and watch what is requested, if anything.

        Raises:
            StoreError: the database can't be opened.
            ConfigError: there is no such theme.
        """
        super().__init__(database, settings, stray)
        self._request = request
        self._seen: object = None
        self._told: str | None = None
        self._trouble: str | None = None
        self._live: dict[int, str] = {}
        self._leaving = False
        for theme in THEMES:
            self.register_theme(theme)
        self._first_theme = settings.theme or THEMES[0].name
        if self._first_theme not in self.available_themes:
            names = ", ".join(self.available_themes)
            raise ConfigError(f"settings file {settings.path}: theme must be one of {names}, got {settings.theme!r}")

    # Screens

    def open(self, screen: str, *runs: int) -> None:
        """Show a screen of `SCREENS`, importing its module, and all that it needs, when it is first wanted."""
        self.push_screen(pkgutil.resolve_name(SCREENS[screen])(*runs))

    async def action_back(self) -> None:
        """Return to the screen before; on the first one do nothing."""
        if len(self.screen_stack) > 2:
            if isinstance(self.screen, BenchScreen):
                self.screen.leaving()
            self.pop_screen()

    # Keys

    def action_new(self) -> None:
        from eetui.setup.screen import NewScreen

        if not isinstance(self.screen, NewScreen):
            self.open("new")

    def action_help(self) -> None:
        from eetui.console.help_screen import HelpScreen

        screen = self.screen
        title = screen.title or type(screen).__name__.removesuffix("Screen")
        self.push_screen(HelpScreen(title, getattr(screen, "HELP_TEXT", ""), list(active_keys(self, screen))))

    def action_toggle_theme(self) -> None:
        self.theme = THEMES[0].name if self.theme == THEMES[1].name else THEMES[1].name

    async def action_quit(self) -> None:
        """Leave; while something is training, ask, finish the step and save first."""
        if self._leaving:
            self._leave_at_once()
        elif not self.trainer.snapshot.busy:
            self.leave()
        elif not isinstance(self.screen, Question):
            self.push_screen(Question(self._what_would_stop(), (LEAVE, STAY)), self._quit_answered)

    def _what_would_stop(self) -> str:
        now = self.trainer.snapshot
        waiting = f", and {len(now.queue)} more wait" if now.queue else ""
        return (
            f"{'A run is training' if now.run else 'A run is being prepared'}{waiting}.\n"
            "Quitting finishes the step, saves a checkpoint and marks it interrupted;\n"
            "it can be resumed later."
        )

    def _quit_answered(self, answer: str | None) -> None:
        if answer == LEAVE:
            self.leave()

    def leave(self, return_code: int = 0) -> None:
        """Stop what is training after its step, then leave."""
        if self._leaving:
            return
        self._leaving = True
        self.trainer.stop()
        for screen in self.screen_stack:
            if isinstance(screen, BenchScreen):
                screen.leaving()
        self.run_worker(self._leave_when_stopped(return_code), group="leaving")

    def _leave_at_once(self) -> None:
        """Asked again: don't wait for the step, or for a corpus that is being read; a thread can't be ended."""
        if self._driver is not None:
            self._driver.stop_application_mode()
            self._driver.close()
        os._exit(130)

    async def _leave_when_stopped(self, return_code: int) -> None:
        if self.trainer.snapshot.phase != "idle":
            self.notify("finishing the step, saving; q again leaves at once", timeout=60)
        await self._training_rests()
        self.exit(return_code=return_code)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every key of the screen, by what it does."""
        for key in active_keys(self, screen):
            run = self._runner(key.action, key.namespace)
            yield SystemCommand(f"{key.does} ({key.keys})", f"key {key.keys}, id {key.id}", run)
        yield SystemCommand("Choose a theme", "Change the colours of the console", self.action_change_theme)

    def _runner(self, action: str, namespace: object) -> Callable[[], object]:
        return lambda: self.call_later(self.run_action, action, namespace)

    # The life of the console

    def on_mount(self) -> None:
        self.theme = self._first_theme
        self.set_keymap(dict(self.settings.keys))
        self.push_screen(RunsScreen())
        self.set_interval(UPDATE_SECONDS, self.look_for_news)
        self.call_after_refresh(self._first_frame_is_out)

    def _first_frame_is_out(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.leave, 128 + number)
        if self._request is not None:
            self.trainer.request(self._request)

    def look_for_news(self) -> None:
        """Start the training thread where it is wanted, and let the screen look at what is new."""
        if self.trainer.claim():
            self.run_worker(self.trainer.work, thread=True, group="training", exit_on_error=False)
        try:
            self._open_requested()
            if isinstance(self.screen, BenchScreen) and self.screen.ready and self._something_new():
                self.screen.update()
            self._trouble = None
        except EetuiError as error:  # the database can't be read just now: said once, tried again
            if str(error) != self._trouble:
                self._trouble = str(error)
                self.notify(self._trouble, severity="error", timeout=20, markup=False)

    def _open_requested(self) -> None:
        """Show the first run that was asked for at the start, as soon as it is there."""
        now = self.trainer.snapshot
        run = now.run or next(iter(now.queue), None)
        if self._request is not None and run is not None and isinstance(self.screen, BenchScreen):
            self._request = None
            self.open("live", run)

    def _something_new(self) -> bool:
        """Whether any process wrote to the database, or the training thread changed what it does."""
        version = (self.reader.version(), self.trainer.snapshot)
        new, self._seen = version != self._seen, version
        if new:
            self._tell_of_endings()
            self._tell_of_problems()
        return new

    def _tell_of_endings(self) -> None:
        """Notify and ring when a run that was live has ended."""
        live = {row["id"]: row["name"] for row in self.reader.runs(Query(f"status IN {LIVE}"))}
        for run, name in self._live.items():
            if run not in live and not self._leaving:
                self._tell(run, name)
        self._live = live

    def _tell(self, run: int, name: str) -> None:
        with contextlib.suppress(EetuiError):  # deleted meanwhile
            row = self.reader.run(run)
            good = row["status"] == "finished"
            reason = f": {row['error']}" if row["error"] else ""
            self.notify(f"{name} {row['status']}{reason}", severity="information" if good else "warning", markup=False)
            if self.settings.bell:
                self.bell()

    def _tell_of_problems(self) -> None:
        """Show, once, why an experiment could not be queued."""
        problem = self.trainer.snapshot.problem
        if problem and problem != self._told:
            self.notify(problem, title="not started", severity="error", timeout=20, markup=False)
        self._told = problem

    async def on_unmount(self) -> None:
        """However the end came, an error in a screen included: the training thread finishes its step and saves."""
        self.trainer.stop()
        await self._training_rests()

    async def _training_rests(self) -> None:
        while self.trainer.snapshot.phase != "idle":
            await asyncio.sleep(0.02)


def run_console(database: Path, settings: Settings, request: "Request | None" = None) -> int:
    """Open the console, on what is asked for if anything is; the exit code.

    Raises:
        StoreError: the database can't be opened.
        ConfigError: a setting names a theme or a binding that does not exist.
    """
    check_ids(settings.keys)
    with stray_output_kept() as stray:
        app = EetuiApp(database, settings, request, stray)
        app.run()
    return app.return_code or 0


def all_ids() -> frozenset[str]:
    """The ids of all bindings of the console; imports every screen and widget to find them."""
    from textual.binding import Binding
    from textual.dom import DOMNode

    import eetui

    for module in pkgutil.walk_packages(eetui.__path__, "eetui."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    bindings = (binding for node in _subclasses(DOMNode) for binding in Binding.make_bindings(node.BINDINGS))
    return frozenset(binding.id for binding in bindings if binding.id)


def check_ids(ids: Iterable[str]) -> None:
    """Refuse keys for what does not exist.

    Raises:
        ConfigError: an id is unknown.
    """
    wanted = list(ids)
    known = all_ids() if wanted else frozenset()
    for identity in wanted:
        if identity not in known:
            near = difflib.get_close_matches(identity, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "? shows the ids of each screen"
            raise ConfigError(f"settings file: keys.{identity} is no binding; {hint}")


def _subclasses(kind: "type[DOMNode]") -> "Iterator[type[DOMNode]]":
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
