"""Stored configs by dotted names. Importing this module does not import pydantic, so that lists show sooner."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.config.dotted_names import flatten
from core.extensions.imported import IMPORTED


def is_imported(row: Mapping[str, Any]) -> bool:
    """Tell of a stored run whether its numbers were imported, or logged by somebody else's loop."""
    return bool(row["config"].get("model", {}).get("source") == IMPORTED)


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a run's config for readers: as `completed`, with None where an imported run does not know."""
    given = flatten(config)
    if given.get("model.source") != IMPORTED:
        return completed(config)
    return dict.fromkeys(completed(config)) | given


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the config of a stored run for readers, as `shown`, with what a loop logged as its own.

    What the loop calls as a field of the config is called begins with `logged.`.
    """
    config = shown(row["config"])
    logged = flatten(row["record"].get("logged", {}))
    if logged.get("seed") == row["seed"]:
        del logged["seed"]
    return config | {f"logged.{name}" if name in config else name: value for name, value in logged.items()}


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `told` that is known of a stored run."""
    return {key: value for key, value in told(row).items() if value is not None or not is_imported(row)}


@cache
def seed_values() -> Mapping[str, Any]:
    """Return the values of the seed preset, which is the report's configuration."""
    preset = Path(__file__).parent / "presets" / "seed.toml"
    return flatten(tomllib.loads(preset.read_text(encoding="utf-8")))


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a run's config, and add the fields that are newer than the run.

    Their values are those of the seed preset, which applied before the fields existed.
    """
    return {**seed_values(), "machine.head_dtype": "same", **flatten(config)}
