"""What all screens of the console share."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer

from eetui.console.bench import Bench


class BenchScreen(Screen[None]):
    """A screen that shows the store.

    `update` is called when the screen comes into view and, while it is in view, whenever the database or the training
    thread may have something new, at most four times a second. It has to be cheap where nothing changed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.back", "Back", id="app.back", tooltip="Return to the screen before"),
    ]
    HELP_TEXT: ClassVar[str] = ""
    """One paragraph for the help screen: what this screen is for."""

    @property
    def bench(self) -> "Bench":
        """The app, by its own type."""
        assert isinstance(self.app, Bench)
        return self.app

    @property
    def ready(self) -> bool:
        """Whether its parts are there to be drawn: not yet while it opens, no longer while it closes."""
        return self.is_mounted and bool(self.query(Footer))

    def update(self) -> None:
        """Show what is in the store now."""

    def on_screen_resume(self) -> None:
        """Come back into view up to date."""
        self.call_later(self._update_if_ready)

    def _update_if_ready(self) -> None:
        if self.ready:
            self.update()

    def leaving(self) -> None:
        """Called before the screen is left for good, and when the console ends."""
