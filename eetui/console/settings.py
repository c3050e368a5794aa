"""The user's settings: `config.toml` in the XDG config folder, or the file named by `EETUI_CONFIG`.

db = "~/experiments/runs.db"      # the database; --db and EETUI_DB win over it
theme = "eetui-light"             # or a file themes/NAME.toml beside this one
bell = false                      # no terminal bell when a run ends
on_end = "notify-send eetui"      # started when a run has ended (`eetui.console.on_end`)
mirror = ["tensorboard:logs"]     # trackers that are told of all that is trained; --mirror wins over it
kib_per_second = 4                # over a slow link: screens are updated less often instead of writing more

[keys]                            # binding ids, as the help screen shows them
"runs.mark" = "m"
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from core.config.toml_file import read_toml
from core.errors import ConfigError
from eetui.console.on_end import words_of


@dataclass(frozen=True)
class Settings:
    """Values of the settings file, or defaults for those it does not hold."""

    db: Path | None = None
    theme: str | None = None
    bell: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    themes: Path | None = None
    """Folder of the user's themes, if there is one."""
    kib_per_second: float | None = None
    """Bound on what is written to the terminal while nothing is pressed."""
    on_end: str | None = None
    """Command that is started when a run has ended (`eetui.console.on_end`)."""
    mirror: tuple[str, ...] = ()
    """Trackers that are told of all that is trained, each as TRACKER:DIR."""


DEFAULTS = Settings()
KINDS: dict[str, type | tuple[type, ...]] = {
    "db": str,
    "theme": str,
    "bell": bool,
    "on_end": str,
    "keys": dict,
    "mirror": list,
    "kib_per_second": (int, float),
}


def settings_path() -> Path:
    """Return the path of the settings file, which need not exist."""
    chosen = os.environ.get("EETUI_CONFIG")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_config_dir("eetui")) / "config.toml"


def load_settings() -> Settings:
    """Read the settings file; return the defaults if there is none.

    Raises:
        ConfigError: it can't be read, or holds something unknown.
    """
    path = settings_path()
    folder = path.with_name("themes")
    themes = folder if folder.is_dir() else None
    try:
        values = read_toml(path)
    except FileNotFoundError:
        return Settings(themes=themes)
    except OSError as error:
        raise ConfigError(f"settings file {path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"settings file {path} is not valid TOML: {error}") from error
    _check(path, values)
    db = Path(values["db"]).expanduser() if "db" in values else None
    rate, on_end = values.get("kib_per_second"), values.get("on_end")
    bell, keys = values.get("bell", True), values.get("keys", {})
    return Settings(db, values.get("theme"), bell, keys, path, themes, rate, on_end, tuple(values.get("mirror", ())))


def _type_name(name: str) -> str:
    kind = KINDS[name]
    return "number" if isinstance(kind, tuple) else kind.__name__


def _check(path: Path, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in KINDS:
            raise ConfigError(f"settings file {path}: {name!r} must be one of {', '.join(KINDS)}")
        if not isinstance(value, KINDS[name]):
            raise ConfigError(f"settings file {path}: {name} must be of type {_type_name(name)}, got {value!r}")
    if "on_end" in values:
        try:
            words_of(values["on_end"])
        except ConfigError as error:
            raise ConfigError(f"settings file {path}: {error}") from None
    for text in values.get("mirror", ()):
        if not isinstance(text, str):
            raise ConfigError(f"settings file {path}: mirror must be a list of texts TRACKER:DIR, got {text!r}")
    if not values.get("kib_per_second", 1) > 0:
        raise ConfigError(f"settings file {path}: kib_per_second must be above 0, got {values['kib_per_second']!r}")
    for binding, key in values.get("keys", {}).items():
        if not isinstance(key, str) or not key.strip():
            raise ConfigError(f'settings file {path}: keys.{binding} must be a key such as "ctrl+d", got {key!r}')
