"""Series of numbers for charts: kept in bounded memory, smoothed, and reduced to the columns they are drawn in.

Plain Python: the series are short by construction, and this module must not wait for numpy.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

LIMIT = 2048
"""Number of points at which a curve merges neighbours in pairs."""

Floats: TypeAlias = "array[float]"
Style = Literal["line", "thick", "marked", "scatter", "faint", "behind", "band"]


@dataclass(frozen=True)
class Series:
    """One series of a chart. `x` ascends, unless the style is scatter.

    Attributes:
        hue: index into `eetui.drawing.themes.HUES`; its sign marks the points of `marked` and `scatter`.
        style: `line` (braille), `thick` (blocks), `marked` (line with its points), `scatter` (points only),
            `faint` (dots behind the others, not in the legend), `behind` (dotted line behind the others),
            `band` (dots from `y` up to `upper`, behind the others, not in the legend).
        marker: mark of its points; empty: the hue's sign.
        upper: upper end of a band at each x.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    hue: int = 0
    style: Style = "line"
    marker: str = ""
    upper: Sequence[float] = ()


class Curve:
    """A growing series in constant memory: each point is the mean, lowest and highest of `stride` values."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Keep fewer than `limit` points, an even number."""
        assert limit % 2 == 0
        self.limit = limit
        self.stride = 1
        self.total = 0
        self._x, self._mean, self._low, self._high = (array("d") for _ in range(4))
        self._pending: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._x) + bool(self._pending)

    def append(self, x: float, y: float) -> None:
        """Add a value, unless it is not finite; `x` must not be smaller than the one before."""
        if not math.isfinite(y):
            return
        self.total += 1
        self._pending.append((x, y))
        if len(self._pending) == self.stride:
            for column, value in zip(self._columns(), _merged(self._pending), strict=True):
                column.append(value)
            self._pending.clear()
            if len(self._x) >= self.limit:
                self._halve()

    def means(self) -> tuple[Floats, Floats]:
        """Return x and mean of every point, the incomplete one last."""
        x, mean = self._x[:], self._mean[:]
        if self._pending:
            last, average, _, _ = _merged(self._pending)
            x.append(last)
            mean.append(average)
        return x, mean

    def ranges(self) -> tuple[Floats, Floats]:
        """Return x and y of every point's lowest and highest in turn; the values themselves while none are merged."""
        if self.stride == 1:
            return self._x[:], self._mean[:]
        x, y = array("d"), array("d")
        for at, low, high in zip(self._x, self._low, self._high, strict=True):
            x.extend((at, at))
            y.extend((low, high))
        return x, y

    def _columns(self) -> tuple[Floats, ...]:
        return self._x, self._mean, self._low, self._high

    def _halve(self) -> None:
        """Merge neighbours in pairs; all points stand for equally many values."""
        self._x = self._x[1::2]
        self._mean = array("d", ((a + b) / 2 for a, b in zip(self._mean[::2], self._mean[1::2], strict=True)))
        self._low = array("d", map(min, self._low[::2], self._low[1::2]))
        self._high = array("d", map(max, self._high[::2], self._high[1::2]))
        self.stride *= 2


def _merged(values: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return last x, mean, lowest and highest."""
    ys = [y for _, y in values]
    return values[-1][0], math.fsum(ys) / len(ys), min(ys), max(ys)


def smooth(values: Sequence[float], span: float) -> Floats:
    """Return the exponential moving average over about `span` values, without bias towards the start."""
    keep = 1 - 2 / (max(span, 1) + 1)
    total = weight = 0.0
    smoothed = array("d")
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed.append(total / weight)
    return smoothed


def span_for(points: int) -> float:
    """Return the number of points to smooth over: a fortieth of them."""
    return max(1.0, points / 40)


def reduce_to_columns(
    x: Sequence[float], y: Sequence[float], columns: int, first: float, last: float
) -> tuple[list[float], list[float]]:
    """Keep at most two points a column between `first` and `last`: its lowest and its highest, in their order.

    One neighbour on either side is kept, so that a line reaches the edge.
    """
    start, end = max(bisect_left(x, first) - 1, 0), min(bisect_right(x, last) + 1, len(x))
    if end - start <= 2 * columns:
        return list(x[start:end]), list(y[start:end])
    width = (last - first) / columns
    chosen: list[int] = []
    lowest = highest = start
    column = math.floor((x[start] - first) / width)
    for index in range(start, end):
        if (here := math.floor((x[index] - first) / width)) != column:
            chosen += sorted({lowest, highest})
            lowest = highest = index
            column = here
        elif y[index] < y[lowest]:
            lowest = index
        elif y[index] > y[highest]:
            highest = index
    chosen += sorted({lowest, highest})
    return [x[index] for index in chosen], [y[index] for index in chosen]


def resample(
    x: Sequence[float], y: Sequence[float], columns: int, first: float, last: float
) -> tuple[list[float], list[float]]:
    """Return x and interpolated y of a line at the middle of each column that it crosses."""
    width = (last - first) / columns
    places = [first + (column + 0.5) * width for column in range(columns)]
    places = [place for place in places if len(x) > 1 and x[0] <= place <= x[-1]]
    return places, [_between(x, y, place) for place in places]


def _between(x: Sequence[float], y: Sequence[float], place: float) -> float:
    """Interpolate y linearly at `place`."""
    after = min(max(bisect_right(x, place), 1), len(x) - 1)
    run = x[after] - x[after - 1]
    return y[after - 1] + (y[after] - y[after - 1]) * ((place - x[after - 1]) / run if run else 0.0)


def mean_band(x: Sequence[float], mean: Sequence[float], deviation: Sequence[float | None], hue: int) -> list[Series]:
    """Return the band of a mean ± its deviation, where it is known; none where there are fewer than two such points."""
    known = [(at, m, d) for at, m, d in zip(x, mean, deviation, strict=True) if d is not None]
    if len(known) < 2:
        return []
    low, high = [m - d for _, m, d in known], [m + d for _, m, d in known]
    return [Series("", [at for at, _, _ in known], low, hue, "band", upper=high)]


def fill(band: Series, low: float, high: float, rows: int) -> Series:
    """Return the dots of a band, every other one of a grid, as a series of style `faint`.

    Args:
        band: reduced to one point a column of dots.
        low, high: ends of the y axis, outside of which nothing is drawn.
        rows: rows of dots between them.
    """
    step = (high - low) / rows
    xs, ys = list[float](), list[float]()
    for column, (x, bottom, top) in enumerate(zip(band.x, band.y, band.upper, strict=True)):
        first = math.ceil((max(bottom, low) - low) / step - 0.5)
        last = math.floor((min(top, high) - low) / step - 0.5)
        for row in range(first, last + 1):
            if (row + column) % 2 == 0:
                xs.append(x)
                ys.append(low + (row + 0.5) * step)
    return Series(band.name, xs, ys, band.hue, "faint")
