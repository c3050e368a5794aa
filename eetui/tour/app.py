"""The console with a guide: a pane on each screen says what is seen, and one key leads on."""

import pkgutil
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Static

from eetui.app import SCREENS, EetuiApp, console_of
from eetui.console.screen import BenchScreen
from eetui.console.settings import Settings
from eetui.console.terminal import NOTHING, StrayOutput
from eetui.tour.stops import STOPS, Stop, require_runs


class TourPane(Static):
    """What the guide says at a stop."""

    DEFAULT_CSS = """
    TourPane { dock: top; height: auto; max-height: 8; padding: 0 1; background: $primary 20%; }
    """

    def __init__(self, stop: Stop, number: int) -> None:
        head = f"{number} of {len(STOPS)}: {stop.title}"
        keys = " · ".join((*((", goes back",) if number > 1 else ()), *((". goes on",) if number < len(STOPS) else ())))
        super().__init__(Text.assemble((head, "bold"), f"  ({keys})\n{stop.text}"), markup=False)


class TourApp(EetuiApp):
    """The console, led from stop to stop; it only reads."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("full_stop", "step(1)", show=False, key_display=".", id="tour.next", tooltip="Next stop of the tour"),
        Binding("comma", "step(-1)", show=False, key_display=",", id="tour.back", tooltip="Stop before"),
    ]

    def __init__(self, database: Path, settings: Settings, stray: StrayOutput = NOTHING) -> None:
        """Create the app.

        Raises:
            StoreError: the database can't be opened.
            UsageError: it has no finished run.
            ConfigError: there is no such theme.
        """
        super().__init__(database, settings, stray=stray, read_only=True)
        with self.closed_if_refused():
            require_runs(self.reader)
        self._stop = 0

    def on_mount(self) -> None:
        self.call_after_refresh(self._guide)

    async def action_step(self, step: int) -> None:
        """Go to a stop before or after; at either end stay."""
        wanted = self._stop + step
        if not 0 <= wanted < len(STOPS) or not isinstance(self.screen, BenchScreen):
            return
        self._stop = wanted
        while len(self.screen_stack) > 2:
            await self.action_back()
        stop = STOPS[wanted]
        if stop.screen is not None:
            await self.push_screen(pkgutil.resolve_name(SCREENS[stop.screen])(*stop.runs(self.reader)))
        await self._guide()

    async def _guide(self) -> None:
        """Show the guide's pane on the screen of the stop."""
        screen, stop = self.screen, STOPS[self._stop]
        assert isinstance(screen, BenchScreen)
        await screen.query(TourPane).remove()
        await screen.mount(TourPane(stop, self._stop + 1))
        screen.update()
        if stop.action is not None:
            await self.run_action(f"screen.{stop.action}")


def run_tour(database: Path, settings: Settings) -> int:
    """Open the console on the tour and return the exit code.

    Raises:
        StoreError: the database can't be opened.
        UsageError: it has no finished run.
        ConfigError: a setting names a theme or a binding that does not exist.
    """
    return console_of(lambda stray: TourApp(database, settings, stray), settings)
