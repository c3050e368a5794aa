"""The command that trains a run again."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from core.config.dotted_names import flatten


def recorded_command(row: Mapping[str, Any]) -> str | None:
    """The command line a run was started with, if it says what was trained: a console's own does not."""
    command = str(row["record"].get("command") or "")
    words = command.split()
    return command if "run" in words[1:] and "--no-ui" in words else None


def launch_command(row: Mapping[str, Any]) -> str:
    """`eetui run …` that gives the config of a stored run, as differences from its preset."""
    from core.config.run_config import DEFAULT_PRESET, Layer, build, preset_layer, preset_names

    preset = row["preset"] if row["preset"] in preset_names() else DEFAULT_PRESET
    method = row["config"]["method"]  # a user's own by its file and the hash of its content
    own = {"method": method, "seed": row["seed"]}
    base = flatten(build([preset_layer(preset), Layer("the run", own)]).model_dump())
    words = ["eetui", "run", "--preset", preset, "--method", method, "--seed", str(row["seed"])]
    whole = build([Layer("the run", flatten(row["config"]))]).model_dump()  # with what is newer than the run
    for key, value in flatten(whole).items():
        if value is not None and base.get(key) != value:
            words += ["--set", f"{key}={_written(value)}"]
    return shlex.join([*words, *_tags(row)])


def _tags(row: Mapping[str, Any]) -> Iterator[str]:
    for tag in row["tags"]:
        yield from ("--tag", tag)


def _written(value: object) -> str:
    """As `--set` reads it: TOML, or plain text where that can't be taken for anything else."""
    from core.config.run_config import set_layer

    if isinstance(value, str):
        plain = set_layer(f"x={value}").values["x"] == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else repr(value)
