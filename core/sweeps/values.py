"""Values that a sweep gives a config field, as they are written: `0.3,0.5`, `[1,1],[2,2]`, `0.3..0.7:0.2`.

A comma separates values, but not inside brackets or quotes. `LOW..HIGH:STEP` are evenly spaced values, both ends
included; `LOW..HIGH` is a range to search in, `LOW..HIGH:log` one by orders of magnitude.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.config.messages import shortened
from core.errors import ConfigError

_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?::(?P<step>{_NUMBER}|log))?")
LARGEST = 30
"""Power of ten that no number of a range is beyond."""
OPENING, CLOSING, QUOTES = "[({", "])}", "\"'"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: all in steps, or any in between (`step` None)."""

    low: Decimal
    high: Decimal
    step: Decimal | None = None
    log: bool = False

    @property
    def count(self) -> int:
        """Number of steps; 0 where any number in between will do."""
        return 0 if self.step is None else int((self.high - self.low) / self.step) + 1

    def __iter__(self) -> Iterator[int | float]:
        for index in range(self.count):
            yield as_number(self.low + index * (self.step or 0))

    @property
    def whole(self) -> bool:
        """Whether it is of integers."""
        return all(one == one.to_integral_value() for one in (self.low, self.high, self.step or Decimal(1)))


@dataclass(frozen=True)
class Axis:
    """A config field and the values that it takes in a sweep; `text` is how they were written."""

    name: str
    text: str
    values: tuple[Any, ...] | Range

    @property
    def count(self) -> int:
        """Number of values."""
        return self.values.count if isinstance(self.values, Range) else len(self.values)

    @property
    def origin(self) -> str:
        """How messages call it."""
        return f"--set {shortened(f'{self.name}={self.text}')}"


def read_axis(name: str, text: str) -> Axis:
    """Read the values of a field.

    Raises:
        ConfigError: there are none, or a range has none.
    """
    parts = split(text)
    if not parts or not all(parts):
        raise ConfigError(f"--set {name}= has an empty value in {shortened(text)!r}: separate values by single commas")
    found = _RANGE.fullmatch(parts[0]) if len(parts) == 1 else None
    if found is None:
        return Axis(name, text, tuple(_value(part) for part in parts))
    low, high = Decimal(found["low"]), Decimal(found["high"])
    log, step = found["step"] == "log", None if found["step"] in (None, "log") else Decimal(found["step"])
    if any(abs(one.adjusted()) > LARGEST for one in (low, high, step or low)):
        raise ConfigError(f"the range {name}={shortened(text)} is beyond all bounds: write numbers under 1e{LARGEST}")
    if low > high or (low == high and step is None) or (step is not None and step <= 0):
        raise ConfigError(
            f"the range {name}={shortened(text)} is empty: write LOW..HIGH:STEP with LOW < HIGH, STEP > 0"
        )
    if log and low <= 0:
        raise ConfigError(
            f"the range {name}={shortened(text)} must begin above 0 to be searched by orders of magnitude"
        )
    return Axis(name, text, Range(low, high, step, log))


def split(text: str) -> list[str]:
    """Split a text at the commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        elif character in OPENING + CLOSING:
            depth += 1 if character in OPENING else -1
        elif character == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def as_number(value: Decimal) -> int | float:
    """Return an int where it is one and was not written with a point, else a float."""
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
