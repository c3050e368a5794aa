"""The command that trains a run again."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from core.config.dotted_names import flatten
from core.config.stored import is_imported


def recorded_command(row: Mapping[str, Any]) -> str | None:
    """Return the command line a run was started with; None if it does not name what is trained, as the console's."""
    command = str(row["record"].get("command") or "")
    words = command.split()
    return command if "run" in words[1:] and "--no-ui" in words else None


def changed_values(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a stored run's preset, and the values of its config that differ from it, method and seed aside.

    An imported run has no preset: all that is known of its config differs.

    Raises:
        ConfigError: its method is a plug-in that is gone or has changed.
    """
    if is_imported(row):
        return "none", {key: value for key, value in flatten(row["config"]).items() if key not in ("method", "seed")}
    from core.config.run_config import DEFAULT_PRESET, Layer, build, preset_layer, preset_names, rebuilt

    preset = row["preset"] if row["preset"] in preset_names() else DEFAULT_PRESET
    own = {"method": row["config"]["method"], "seed": row["seed"]}
    base = flatten(build([preset_layer(preset), Layer("the run", own)]).model_dump())
    whole = flatten(rebuilt(row["config"], "the run").model_dump())
    return preset, {key: value for key, value in whole.items() if value is not None and base.get(key) != value}


def launch_command(row: Mapping[str, Any]) -> str:
    """Return the `eetui run …` that gives a stored run's config, written as differences from its preset.

    Of an imported run it is the `eetui import …` that made it.
    """
    if is_imported(row):
        return str(row["record"].get("command") or "eetui import FILE")
    preset, changed = changed_values(row)
    method = row["config"]["method"]  # a user's own by its file and the hash of its content
    words = ["eetui", "run", "--preset", preset, "--method", method, "--seed", str(row["seed"])]
    for key, value in changed.items():
        words += ["--set", f"{key}={_written(value)}"]
    return shlex.join([*words, *_tags(row)])


def _tags(row: Mapping[str, Any]) -> Iterator[str]:
    for tag in row["tags"]:
        yield from ("--tag", tag)


def _written(value: object) -> str:
    """Write a value as `--set` reads it: TOML, or plain text where it can't be read as anything else."""
    from core.config.run_config import set_layer

    if isinstance(value, str):
        plain = set_layer(f"x={value}").values["x"] == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else repr(value)
