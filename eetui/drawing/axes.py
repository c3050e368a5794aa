"""A chart's axes, view and legend, and the sentence that replaces a chart too small for curves."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.text import Text

from eetui.drawing.series import Series
from eetui.drawing.themes import hue

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Leading digits of a tick step."""
FEWER = 0.7
"""Smallest step, as a share of the exact one: a few ticks too many are better than half as many."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Positions of ticks, and the format of values.

    Attributes:
        ticks: ticks of a range (low, high), about the number asked for.
        labels: texts of ticks, all with the same number of decimals.
        value: text of a single value.
    """

    ticks: Callable[[float, float, int], list[float]]
    labels: Callable[[Sequence[float]], list[str]]
    value: Callable[[float], str]


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Return round values between low and high, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in NICE if nice * power >= raw * FEWER)
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def whole_ticks(low: float, high: float, count: int) -> list[float]:
    """Return round whole values, as for epochs and steps."""
    ticks = [tick for tick in linear_ticks(low, high, count) if math.isclose(tick, round(tick), abs_tol=1e-9)]
    return ticks or [float(math.ceil(low))]


def perplexity_ticks(low: float, high: float, count: int) -> list[float]:
    """Return ticks in nats whose PPL is round: evenly spaced in a narrow range, else 1, 2, 5, 10, …"""
    bottom, top = math.exp(min(low, 600)), math.exp(min(high, 600))
    if top < 4 * bottom:
        return [math.log(tick) for tick in linear_ticks(bottom, top, count) if tick > 0]
    powers = range(math.floor(math.log10(bottom)), math.ceil(math.log10(top)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [math.log(digit * 10.0**power) for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= max(count, 2):
            break
    return ticks


def plain_labels(ticks: Sequence[float]) -> list[str]:
    """Write ticks with as many decimals as tell them apart."""
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1  # steps of 0.25
    return [f"{tick + 0.0:,.{decimals}f}" for tick in ticks]


LINEAR = Axis(linear_ticks, plain_labels, "{:.4f}".format)
WHOLE = Axis(whole_ticks, lambda ticks: [f"{tick:,.0f}" for tick in ticks], "{:,.0f}".format)
SHARE = Axis(
    linear_ticks, lambda ticks: [f"{text}%" for text in plain_labels([100 * t for t in ticks])], "{:.1%}".format
)
PPL = Axis(
    perplexity_ticks,
    lambda ticks: plain_labels([math.exp(tick) for tick in ticks]),
    lambda nats: f"{math.exp(min(nats, 600)):,.2f}",
)
"""Axis of values in nats, written as PPL."""


@dataclass(frozen=True)
class View:
    """The visible part of a chart.

    Attributes:
        width: length of the x range; None: all of it.
        right: right end of the x range; None: the newest point, which is followed as points are added.
        y: range of the y axis; None: fitted to the curves in view.
    """

    width: float | None = None
    right: float | None = None
    y: Range | None = None

    @property
    def follows(self) -> bool:
        """Whether the newest point is kept in view."""
        return self.right is None

    def x(self, extent: Range) -> Range:
        """Return the x range, for data of that extent."""
        first, last = extent
        right = last if self.right is None else self.right
        left = first if self.width is None else right - self.width
        return (left, right) if right > left else (left, left + 1.0)

    def zoomed(self, factor: float, extent: Range, at: float | None = None) -> "View":
        """Scale the x range by `factor` about `at`; without it about the newest point if followed, else the middle."""
        left, right = self.x(extent)
        width = max((right - left) * factor, (extent[1] - extent[0]) / 5000, 1e-9)
        if self.follows and at is None:
            return replace(self, width=None if width >= extent[1] - extent[0] else width)
        middle = (left + right) / 2 if at is None else at
        return replace(self, width=width, right=middle + (right - middle) * width / (right - left))

    def panned(self, share: float, extent: Range) -> "View":
        """Move right by a share of the x range, no further than the data, and stop following."""
        left, right = self.x(extent)
        width = right - left
        target = min(max(right + share * width, extent[0] + width / 10), extent[1] + width / 2)
        return replace(self, width=width, right=target)

    def raised(self, share: float, shown: Range) -> "View":
        """Move up by a share of the y range shown now."""
        move = share * (shown[1] - shown[0])
        return replace(self, y=(shown[0] + move, shown[1] + move))

    def stretched(self, factor: float, shown: Range, at: float) -> "View":
        """Scale the y range by `factor` about `at`."""
        return replace(self, y=(at + (shown[0] - at) * factor, at + (shown[1] - at) * factor))

    def following(self) -> "View":
        """Return the view of the same width that follows the newest point, its y range fitted."""
        return View(width=self.width)


SIGNS = {"line": "⠒⠒", "thick": "▀▀", "faint": "⠂⠂", "behind": "⠂⠂", "band": "⠂⠂"}


def sign(series: Series) -> str:
    """Return the mark of a series in the legend."""
    marker = series.marker or hue(series.hue).sign
    return {"marked": f"⠒{marker}⠒", "scatter": marker}.get(series.style) or SIGNS[series.style]


def legend(title: str, series: Sequence[Series], dark: bool, width: int) -> Text:
    """Write the title and each series with its sign in one line; as many series as fit, those behind last."""
    text = Text.assemble((title, "bold"))
    for one in sorted(series, key=lambda one: one.style == "behind"):
        if one.style in ("faint", "band") or not one.name:
            continue
        entry = Text.assemble("  ", (sign(one), hue(one.hue).on(dark)), f" {one.name}")
        if text.cell_len + entry.cell_len > width:
            break
        text.append_text(entry)
    return text


def latest(title: str, series: Sequence[Series], axis: Axis, x_axis: Axis, x_label: str) -> str:
    """Write the newest value of every curve as a sentence."""
    curves = [one for one in series if one.style not in ("faint", "behind", "scatter", "band") and len(one.y)]
    if not curves:
        return f"{title}: nothing yet".lstrip(": ")
    numbers = " · ".join(f"{one.name} {axis.value(one.y[-1])}" for one in curves)
    at = max(one.x[-1] for one in curves)
    return f"{title}: {numbers} ({x_label} {x_axis.value(at)})".lstrip(": ")
