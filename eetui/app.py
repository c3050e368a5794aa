"""The app: opens screens, starts the training thread, watches the database, and quits.

Nothing here imports torch: the first frame must not wait for it. The training thread does, when it needs it.
"""

import asyncio
import contextlib
import importlib
import os
import pkgutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen

from core.config.messages import near_name
from core.errors import ConfigError, EetuiError
from eetui.console.bench import Bench
from eetui.console.dialogs import Question
from eetui.console.keys import active_keys
from eetui.console.link import Link
from eetui.console.screen import BenchScreen
from eetui.console.settings import DEFAULTS, Settings
from eetui.console.terminal import NOTHING, StrayOutput, stray_output_kept
from eetui.console.theme_files import load_themes
from eetui.console.training_thread import Request
from eetui.drawing.themes import THEMES
from eetui.runs.screen import RunsScreen

if TYPE_CHECKING:
    from eetui.trackers.contract import Trackers

UPDATE_SECONDS = 0.5
"""Time between two updates of a screen. Twice a second looks live; four times a second costs training 10% of its speed
where two hardware threads share a core (benchmarks/console.py)."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LEAVE, STAY = "Stop and quit", "Stay"
SCREENS = {
    "new": "eetui.setup.screen:NewScreen",
    "live": "eetui.live.screen:LiveScreen",
    "compare": "eetui.compare.screen:CompareScreen",
    "inspect": "eetui.inspection.screen:InspectScreen",
    "generate": "eetui.generate.screen:GenerateScreen",
    "sweeps": "eetui.sweeps.screen:SweepsScreen",
    "machine": "eetui.machine.screen:MachineScreen",
}
"""Import path of each screen that is opened by name."""


class EetuiApp(Bench):
    """The console."""

    TITLE = "eetui"
    CSS_PATH = Path(__file__).with_name("eetui.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", id="app.help", tooltip="Show the keys of this screen"),
        Binding("n", "new", "New", id="app.new", tooltip="Set up new runs"),
        Binding("U", "machine", "Machine", show=False, id="app.machine", tooltip="Show what this machine is doing"),
        Binding("q,ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave eetui; asks first while training"),
        Binding("ctrl+t", "toggle_theme", "Theme", show=False, id="app.theme", tooltip="Switch dark and light"),
    ]

    def __init__(
        self,
        database: Path,
        settings: Settings = DEFAULTS,
        request: "Request | None" = None,
        stray: StrayOutput = NOTHING,
        read_only: bool = False,
        mirrors: "Trackers" = (),
    ) -> None:
        """Create the app on a database, which is created if missing; a request is trained and shown once it runs.

        With `read_only` the database must exist, and nothing is trained or changed. `mirrors` are trackers that are
        told of all that is trained.

        Raises:
            StoreError: the database can't be opened.
            ConfigError: there is no such theme, or a theme file is not valid.
        """
        super().__init__(database, settings, stray, read_only, mirrors)
        self._request = request
        self._seen: object = None
        self._notified_problem: str | None = None
        self._notified_warning: tuple[str, str] | None = None
        self._database_problem: str | None = None
        self._live: dict[int, str] = {}
        self._leaving = False
        self._link = Link(settings.kib_per_second * 1024 if settings.kib_per_second else None)
        with self.closed_if_refused():
            self._first_theme = self._registered_theme(settings)

    def _registered_theme(self, settings: Settings) -> str:
        """Register all themes; return the name of the one to begin with."""
        for theme in (*THEMES, *(load_themes(settings.themes) if settings.themes else ())):
            self.register_theme(theme)
        first = settings.theme or THEMES[0].name
        if first not in self.available_themes:
            names = ", ".join(self.available_themes)
            raise ConfigError(f"settings file {settings.path}: theme must be one of {names}, got {settings.theme!r}")
        return first

    # Screens

    def open(self, screen: str, *runs: int) -> None:
        """Show a screen of `SCREENS`; its module is imported when it is first opened."""
        self.push_screen(pkgutil.resolve_name(SCREENS[screen])(*runs))

    def draw(self, figure: str, *arguments: object) -> None:
        """Ask for a format, and write a figure of `eetui.figures.of_screens` with its numbers beside it."""
        from eetui.figures.asking import ask

        ask(self, figure, arguments)

    async def action_back(self) -> None:
        """Return to the previous screen; on the first one do nothing."""
        if len(self.screen_stack) > 2:
            if isinstance(self.screen, BenchScreen):
                self.screen.leaving()
            self.pop_screen()

    # Keys

    def action_new(self) -> None:
        from eetui.setup.screen import NewScreen

        if isinstance(self.screen, NewScreen):
            return
        if self.attempt(self.require_writable):  # to estimate what a form describes takes the machine
            self.open("new")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer no new runs where the console only reads."""
        return not (action == "new" and self.read_only)

    def action_machine(self) -> None:
        from eetui.machine.screen import MachineScreen

        if not isinstance(self.screen, MachineScreen):
            self.open("machine")

    def action_help(self) -> None:
        from eetui.console.help_screen import HelpScreen

        screen = self.screen
        title = screen.title or type(screen).__name__.removesuffix("Screen")
        self.push_screen(HelpScreen(title, getattr(screen, "HELP_TEXT", ""), list(active_keys(self, screen))))

    def action_toggle_theme(self) -> None:
        self.theme = THEMES[0].name if self.theme == THEMES[1].name else THEMES[1].name

    async def action_quit(self) -> None:
        """Quit; during training ask first, then finish the step and save."""
        if self._leaving:
            self._leave_at_once()
        elif not self.trainer.snapshot.busy:
            self.leave()
        elif not isinstance(self.screen, Question):
            self.push_screen(Question(self._quit_question(), (LEAVE, STAY)), self._quit_answered)

    def _quit_question(self) -> str:
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
        """End training after its step, then quit."""
        if self._leaving:
            return
        self._leaving = True
        self.trainer.stop()
        for screen in self.screen_stack:
            if isinstance(screen, BenchScreen):
                screen.leaving()
        self.run_worker(self._leave_when_stopped(return_code), group="leaving")

    def _leave_at_once(self) -> None:
        """Exit without waiting for the step or for a corpus being read, as a thread can't be ended."""
        if self._driver is not None:
            self._driver.stop_application_mode()
            self._driver.close()
        os._exit(130)

    async def _leave_when_stopped(self, return_code: int) -> None:
        if self.trainer.snapshot.phase != "idle":
            self.notify("finishing the step, saving; q again leaves at once", timeout=60)
        await self._training_idle()
        self.exit(return_code=return_code)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield a command for every key of the screen, and one that chooses a theme."""
        for key in active_keys(self, screen):
            run = self._runner(key.action, key.namespace)
            yield SystemCommand(f"{key.does} ({key.keys})", f"key {key.keys}, id {key.id}", run)
        yield SystemCommand("Choose a theme", "Change the colours of the console", self.action_change_theme)

    def _runner(self, action: str, namespace: object) -> Callable[[], object]:
        return lambda: self.call_later(self.run_action, action, namespace)

    # Start, updates and end

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.leave, 128 + number)
        if self.settings.kib_per_second:
            self._count_written()
        self.theme = self._first_theme
        self.set_keymap(dict(self.settings.keys))
        self.push_screen(RunsScreen())
        self.set_interval(UPDATE_SECONDS, self.look_for_news)
        self.call_after_refresh(self._first_frame_is_out)

    def _count_written(self) -> None:
        """Tell the link of all that is written to the terminal from now on."""
        driver = self._driver
        if driver is None:
            return
        write = driver.write

        def counting(data: str) -> None:
            self._link.wrote(len(data.encode()))
            write(data)

        driver.write = counting  # type: ignore[method-assign]

    @property
    def link_free(self) -> bool:
        """Whether the terminal's link has had time for all that was written."""
        return self._link.free

    def _first_frame_is_out(self) -> None:
        if self._request is not None:
            self.trainer.request(self._request)

    def look_for_news(self) -> None:
        """Start the training thread if it is needed, and update the screen if anything is new."""
        if not self.screen_stack:
            return  # the last tick while the app closes
        if self.trainer.claim():
            self.run_worker(self.trainer.work, thread=True, group="training", exit_on_error=False)
        try:
            self._open_requested()
            screen = self.screen
            if self.link_free and isinstance(screen, BenchScreen) and screen.ready and self._something_new():
                screen.update()
            self._database_problem = None
        except EetuiError as error:  # the database can't be read now: notify once, retry at the next update
            if str(error) != self._database_problem:
                self._database_problem = str(error)
                self.notify(self._database_problem, severity="error", timeout=20, markup=False)

    def _open_requested(self) -> None:
        """Show the first run of the request, as soon as it exists."""
        now = self.trainer.snapshot
        run = now.run or next(iter(now.queue), None)
        if self._request is not None and run is not None and isinstance(self.screen, BenchScreen):
            self._request = None
            self.open("live", run)

    def _something_new(self) -> bool:
        """Whether the database or the training thread's state changed; if so, notify of ended runs and problems."""
        version = (self.reader.version(), self.trainer.snapshot)
        new, self._seen = version != self._seen, version
        if new:
            self._notify_ended_runs()
            self._notify_problem()
            self._notify_warning()
        return new

    def _notify_ended_runs(self) -> None:
        """Notify and ring when a run that was live has ended."""
        live = {row["id"]: row["name"] for row in self.reader.live()}
        for run, name in self._live.items():
            if run not in live and not self._leaving:
                self._notify_ended(run, name)
        self._live = live

    def _notify_ended(self, run: int, name: str) -> None:
        with contextlib.suppress(EetuiError):  # deleted meanwhile
            row = self.reader.run(run)
            good = row["status"] == "finished"
            reason = f": {row['error']}" if row["error"] else ""
            self.notify(f"{name} {row['status']}{reason}", severity="information" if good else "warning", markup=False)
            if self.settings.bell:
                self.bell()

    def _notify_problem(self) -> None:
        """Notify, once, why an experiment could not be queued, what holds one up, or what ended all of them."""
        now, lost = self.trainer.snapshot, self.trainer.lost
        problem = now.held_up or now.problem
        if problem and problem != self._notified_problem:
            title = "waiting to be stored" if now.held_up else "training has ended" if lost else "not started"
            self.notify(problem, title=title, severity="error", timeout=3600 if lost else 20, markup=False)
        self._notified_problem = problem

    def _notify_warning(self) -> None:
        """Notify, once, what is wrong with a tracker that is told of the runs, or with the command at their end."""
        warning = self.trainer.snapshot.warning
        if warning and warning != self._notified_warning:
            title, text = warning
            self.notify(text, title=title, severity="warning", timeout=20, markup=False)
        self._notified_warning = warning

    async def on_unmount(self) -> None:
        """Let the training thread finish its step and save, even if an error in a screen ended the app."""
        self.trainer.stop()
        await self._training_idle()
        self.reader.close()

    async def _training_idle(self) -> None:
        while self.trainer.snapshot.phase != "idle":
            await asyncio.sleep(0.02)


def run_console(
    database: Path,
    settings: Settings,
    request: "Request | None" = None,
    read_only: bool = False,
    mirrors: "Trackers" = (),
) -> int:
    """Run the console, train the requested runs if there are any, and return the exit code.

    Raises:
        StoreError: the database can't be opened.
        ConfigError: a setting names a theme or a binding that does not exist.
        VanishedError: the database was removed while runs were in training; the message says where they are now.
    """
    return console_of(lambda stray: EetuiApp(database, settings, request, stray, read_only, mirrors), settings)


def console_of(make: Callable[[StrayOutput], EetuiApp], settings: Settings) -> int:
    """Run the app that `make` makes, with everything else that is written kept off the screen; return the exit code.

    Raises:
        ConfigError: a setting names a binding that does not exist.
        VanishedError: the database was removed while runs were in training; the message says where they are now.
    """
    check_ids(settings.keys)
    with stray_output_kept() as stray:
        app = make(stray)
        app.run()
    if app.trainer.lost:
        raise app.trainer.lost
    return app.return_code or 0


def all_ids() -> frozenset[str]:
    """Return the ids of all bindings of the console; imports every module to find them."""
    from textual.binding import Binding
    from textual.dom import DOMNode

    import eetui

    for module in pkgutil.walk_packages(eetui.__path__, "eetui."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # an extra that is not installed; no screen needs one
                importlib.import_module(module.name)
    bindings = (binding for node in _subclasses(DOMNode) for binding in Binding.make_bindings(node.BINDINGS))
    return frozenset(binding.id for binding in bindings if binding.id)


def check_ids(ids: Iterable[str]) -> None:
    """Refuse ids of bindings that do not exist.

    Raises:
        ConfigError: there is no such binding.
    """
    wanted = list(ids)
    known = all_ids() if wanted else frozenset()
    for identity in wanted:
        if identity not in known:
            hint = near_name(identity, sorted(known)) or "; ? shows the ids of each screen"
            raise ConfigError(f"settings file: keys.{identity} is no binding{hint}")


def _subclasses(kind: "type[DOMNode]") -> "Iterator[type[DOMNode]]":
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
