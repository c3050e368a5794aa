"""Base of all screens of the console."""

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
    """The screen's purpose in one paragraph, for the help screen."""

    @property
    def bench(self) -> "Bench":
        """The app, typed as a `Bench`."""
        assert isinstance(self.app, Bench)
        return self.app

    @property
    def ready(self) -> bool:
        """Whether its widgets can be drawn: not yet while it opens, no longer while it closes."""
        open_still = self.app.is_running and self in self.app.screen_stack  # what closes loses its widgets one by one
        return open_still and self.is_mounted and bool(self.query(Footer))

    def update(self) -> None:
        """Show the current contents of the store."""

    def on_screen_resume(self) -> None:
        """Update the screen as it comes back into view."""
        self.call_later(self._update_if_ready)

    def _update_if_ready(self) -> None:
        if self.ready:
            self.update()

    def leaving(self) -> None:
        """Clean up before the screen is left for good or the console ends."""
