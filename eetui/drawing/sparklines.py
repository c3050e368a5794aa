"""A series as one line of text."""

import itertools
import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, span: tuple[float, float] | None = None) -> str:
    """Draw at most `width` bars, each the mean of neighbouring values; values that are not finite leave a gap.

    Args:
        span: values of the lowest and the highest bar, which no value exceeds; None: those of the values.
    """
    bins = [_mean(part) for part in _split(values, width)]
    finite = [value for value in bins if value is not None]
    if not finite:
        return " " * len(bins)
    low, high = span or (min(finite), max(finite))
    return "".join(" " if value is None else _bar(value, low, high) for value in bins)


def _split(values: Sequence[float], width: int) -> list[Sequence[float]]:
    """Split values into at most `width` parts of neighbours."""
    parts = min(width, len(values))
    bounds = [round(index * len(values) / parts) for index in range(parts + 1)] if parts else []
    return [values[start:end] for start, end in itertools.pairwise(bounds)]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _bar(value: float, low: float, high: float) -> str:
    return BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[0]
