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
