"""The theme's colours as Rich styles, for text drawn without an app."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Styles by meaning; the defaults suit a plain terminal."""

    live: str = "cyan"
    good: str = "green"
    caution: str = "yellow"
    bad: str = "red"
    accent: str = "magenta"
    quiet: str = "dim"

    def of_status(self, status: str) -> str:
        """Return the style of a run's status."""
        styles = {"running": self.live, "finished": self.good, "interrupted": self.caution, "failed": self.bad}
        return styles.get(status, self.quiet)


PLAIN = Palette()
"""Styles for a plain terminal."""


def palette(variables: Mapping[str, str]) -> Palette:
    """Return the palette of a theme, from the variables of its style sheet."""
    return Palette(
        live=variables["primary"],
        good=variables["success"],
        caution=variables["warning"],
        bad=variables["error"],
        accent=variables["accent"],
    )
