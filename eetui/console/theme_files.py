"""The user's themes: one TOML file each, in the folder `themes` beside the settings file.

dark = true
primary = "#7AA2F7"        # what is missing is taken from eetui's own theme, dark or light
"""

from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from core.config.toml_file import read_toml
from core.errors import ConfigError
from eetui.drawing.themes import THEMES

COLOURS = (
    "primary", "secondary", "accent", "warning", "error", "success", "foreground", "background", "surface", "panel",
)  # fmt: skip


def load_themes(folder: Path) -> list[Theme]:
    """Read every theme of a folder; each is named after its file.

    Raises:
        ConfigError: a file can't be read, or holds something that is no colour of a theme.
    """
    return [_theme(path) for path in sorted(folder.glob("*.toml"))]


def _theme(path: Path) -> Theme:
    try:
        values = read_toml(path)
    except OSError as error:
        raise ConfigError(f"theme file {path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"theme file {path} is not valid TOML: {error}") from error
    dark = values.pop("dark", True)
    if not isinstance(dark, bool):
        raise ConfigError(f"theme file {path}: dark must be true or false, got {dark!r}")
    for name, value in values.items():
        _require_colour(path, name, value)
    base = THEMES[0 if dark else 1]
    colours = {name: values.get(name, getattr(base, name)) for name in COLOURS}
    return Theme(name=path.stem, dark=dark, **colours)


def _require_colour(path: Path, name: str, value: Any) -> None:
    if name not in COLOURS:
        raise ConfigError(f"theme file {path}: {name!r} must be one of dark, {', '.join(COLOURS)}")
    try:
        Color.parse(value)
    except (ColorParseError, TypeError, AttributeError):
        raise ConfigError(f'theme file {path}: {name} must be a colour such as "#7AA2F7", got {value!r}') from None
