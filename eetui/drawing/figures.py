"""The format of figures, the same everywhere."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.formulas import bits_at, perplexity
from core.metrics import Unit, Value

if TYPE_CHECKING:
    from core.intervals import Interval

MISSING = "–"


def figure(value: Value | float | None, unit: Unit) -> str:
    """Write a value in its unit, with ± its deviation over seeds if it has one."""
    if value is None:
        return MISSING
    if not isinstance(value, Value):
        return _one(value, unit)
    if value.deviation is None:
        return _one(value.mean, unit)
    return f"{_one(value.mean, unit)} ± {_one(value.deviation, unit)}"


def delta(change: float | None, unit: Unit) -> str:
    """Write a signed difference: of a PPL relative, in percent; of a share in percentage points; None is empty."""
    if change is None:
        return ""
    if change == 0:
        return "±0"
    match unit:
        case "ppl":
            return f"{change:+z.2%}"
        case "share":
            return f"{100 * change:+z.2f}pp"
        case "count":
            return f"{change:+z,.0f}"
        case "bits" | "signal" | "loss" | "nats":
            return f"{change:+z.4f}"


def difference(nats: float, interval: "Interval | None") -> str:
    """Write a difference in nats with its interval, where there is one."""
    around = f" [{interval.low:+z.4f}, {interval.high:+z.4f}]" if interval else ""
    return f"{nats:+z.4f}{around}"


def ppl_and_bits(loss: float | None, bytes_per_token: float | None) -> Iterator[str]:
    """Yield the PPL of a loss and, where the bytes of its tokens are known, its bits per byte."""
    yield figure(None if loss is None else perplexity(loss), "ppl")
    if bytes_per_token is not None:
        yield figure(None if loss is None else bits_at(loss, bytes_per_token), "bits")


def number_of(things: int, noun: str) -> str:
    """Write how many things there are: `1 run`, `2,000 runs`."""
    return f"{things:,} {noun}{'' if things == 1 else 's'}"


def price(nats: float) -> str:
    """Write a price with three digits: prices span five orders of magnitude."""
    return f"{nats:.3g}"


def duration(seconds: float | None) -> str:
    """Write a duration as `7.3s`, `2m05s` or `1h02m`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def _one(value: float, unit: Unit) -> str:
    match unit:
        case "ppl":
            return f"{value:z.2f}" if value < 1e5 else f"{value:z.3g}"
        case "share":
            return f"{value:z.2%}"
        case "signal" if value > 1:
            return "off"  # a threshold that no signal reaches
        case "bits" | "signal" | "loss" | "nats":
            return f"{value:z.4f}"
        case "count":
            return f"{value:z,.0f}" if value == round(value) else f"{value:z,.1f}"
