"""TOML files of the user's."""

import tomllib
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000
"""Size of the largest file that is read: what has no end, such as a device, is none."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not TOML, not UTF-8, or too large.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        return tomllib.loads(content.decode())
    except RecursionError as error:
        raise ValueError("too many brackets in brackets") from error
