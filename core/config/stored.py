"""Configs as the store holds them, by dotted names. Reads no more than TOML, so lists can use it without pydantic."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.config.dotted_names import flatten


@cache
def seed_values() -> Mapping[str, Any]:
    """Values of the seed preset, which is the report's configuration."""
    preset = Path(__file__).parent / "presets" / "seed.toml"
    return flatten(tomllib.loads(preset.read_text(encoding="utf-8")))


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a run's config, and add the fields that are newer than the run.

    Before they could be chosen, everything was as in the seed preset.
    """
    return {**seed_values(), "machine.head_dtype": "same", **flatten(config)}
