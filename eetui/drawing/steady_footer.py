"""The footer of every screen."""

from textual.screen import Screen
from textual.widgets import Footer


class SteadyFooter(Footer):
    """Rebuilds its keys only when they change; Textual's footer does on every move of the focus."""

    _shown_keys: object = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        if not (screen.app.app_focus and self.is_attached and screen is self.screen):
            return
        shown = [
            (active.binding.key, active.binding.description, active.enabled)
            for active in screen.active_bindings.values()
            if active.binding.show
        ]
        if shown != self._shown_keys:
            self._shown_keys = shown
            super().bindings_changed(screen)
