"""A footer for screens on which the focus moves often."""

from textual.screen import Screen
from textual.widgets import Footer


class SteadyFooter(Footer):
    """Rebuilds its keys only when they change; Textual's footer does on every move of the focus."""

    def bindings_changed(self, screen: Screen[object]) -> None:
        shown = [
            (active.binding.key, active.binding.description, active.enabled)
            for active in screen.active_bindings.values()
            if active.binding.show
        ]
        if shown != getattr(self, "_shown_keys", None) and screen is self.screen:
            self._shown_keys = shown
            super().bindings_changed(screen)
