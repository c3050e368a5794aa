"""The rule for figures that JSON has no word for: `"Infinity"`, `"-Infinity"` and `"NaN"`, as strings.

It is that of Protocol Buffers' JSON mapping. Nothing is lost, and Python's `float` reads these words.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

NOT_FINITE = ("Infinity", "-Infinity", "NaN")


def json_of(data: object, *, indent: int | None = None) -> str:
    """Write plain data and dataclasses as valid JSON, in ASCII; compact without `indent`."""
    separators = (",", ":") if indent is None else None
    try:
        return json.dumps(data, indent=indent, separators=separators, allow_nan=False, default=_fields)
    except ValueError:  # hardly ever: looking at every figure beforehand would take as long again
        return json.dumps(finite(data), indent=indent, separators=separators, allow_nan=False)


def finite(data: object) -> object:
    """Return data with a word for every float that is infinite or not a number, and dataclasses as mappings."""
    if isinstance(data, float):
        return data if math.isfinite(data) else "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return finite(_fields(data)) if dataclasses.is_dataclass(data) else data


def _fields(data: Any) -> dict[str, Any]:
    return dataclasses.asdict(data)
