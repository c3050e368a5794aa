"""Quality against layer savings at every exit rate and every price, run by run, from stored statistics of tokens.

Seeds are averaged at common savings: each is interpolated on one grid, of the savings that all of them reach.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.analysis.price_curve import PriceCurve, price_curve
from core.analysis.stored_run import exiting_tokens, paid_costs, stored_run
from core.analysis.token_table import Floats
from core.analysis.tradeoff import RATES, quality_curve, trade_off
from core.errors import EetuiError
from core.formulas import layers_saved
from core.intervals import Interval, over_all
from core.metrics import Unit, Value, value_of
from core.store.reader import Reader
from eetui.compare.advice import main_fingerprint
from eetui.compare.columns import Column
from eetui.compare.comparison import Comparison, Row

STEPS = 61
"""Points of the grid of savings on which the prices of seeds are averaged."""


@dataclass(frozen=True)
class PricedCurve:
    """Early exit at one price for all exits, in layers saved; for several seeds, their means.

    Attributes:
        savings: share of the layers that is skipped, rising, `[J]`.
        loss: mean nats, `[J]`.
        seeds: loss less that of the static depths, of each window of each seed, nats, `[S, J, W]`.
        gain: mean nats below the line over even steps of the savings.
        beats: share of the prices at which early exit lies clearly below the line.
        deviation: standard deviation of the loss over seeds, nats, `[J]`; empty for one seed.
    """

    savings: tuple[float, ...]
    loss: tuple[float, ...]
    seeds: tuple[Floats, ...] = field(repr=False, compare=False)
    gain: Value
    beats: Value
    deviation: tuple[float, ...] = ()

    @property
    def furthest(self) -> "Furthest | None":
        """The point that lies furthest below the line, or least above it; None where nothing is saved."""
        saving = [index for index, saved in enumerate(self.savings) if saved > 0]
        if not saving:
            return None
        above = np.mean([seed.mean(axis=1) for seed in self.seeds], axis=0)  # [J]
        index = min(saving, key=lambda index: float(above[index]))
        found = over_all([seed[index].tolist() for seed in self.seeds])
        return Furthest(self.savings[index], float(above[index]), found)


@dataclass(frozen=True)
class Furthest:
    """A point of the curve, chosen as the best of all, so that its interval is a little too good.

    Attributes:
        savings: share of the layers that is skipped.
        above: loss less that of the static depths, nats; negative: below them.
        interval: of that difference, over windows, and over seeds where there are several; None with too few.
    """

    savings: float
    above: float
    interval: Interval | None


@dataclass(frozen=True)
class SavingsCurve:
    """Losses and savings of a run at every exit rate, from none to all; for several seeds, their means.

    Attributes:
        savings: share of the layers that is skipped; rising.
        loss: mean nats of early exit, if every token goes on through all blocks to be attended to.
        line: mean nats of the static depths, or mixtures of two, with the same savings: the line to beat.
        area: area between line and curve, nats × savings; positive where the curve lies below the line.
        gain: area divided by its width: mean nats below the line; None if nothing is saved.
        beats: share of the exit rates at which the curve lies clearly below the line, by its 95% interval over windows.
        priced: the same run at every price.
        deviation: standard deviation of the loss over seeds, nats; empty for one seed.
    """

    savings: tuple[float, ...]
    loss: tuple[float, ...]
    line: tuple[float, ...]
    area: Value
    gain: Value | None
    beats: Value
    priced: PricedCurve
    deviation: tuple[float, ...] = ()

    @property
    def seeds(self) -> int:
        """Number of seeds that it is the mean of."""
        return len(self.priced.seeds)


def run_curve(reader: Reader, number: int) -> SavingsCurve:
    """Compute the curve of a run.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run has no stored statistics of its tokens, or no exit.
    """
    run = stored_run(reader, number)
    table, per_block = exiting_tokens(reader, run), layers_saved(run.config.model.block_layers)
    trade = trade_off(table, quality_curve(table), per_block, per_block)
    is_price = run.method.claims == "price"
    return SavingsCurve(
        savings=tuple(trade.savings.tolist()),
        loss=tuple(trade.loss.tolist()),
        line=tuple(trade.line.tolist()),
        area=Value(trade.area),
        gain=None if trade.mean_gain is None else Value(trade.mean_gain),
        beats=Value(float(trade.beats.mean())),
        priced=_priced(price_curve(table, paid_costs(run, "layers"), per_block, is_price=is_price)),
    )


def _priced(curve: PriceCurve) -> PricedCurve:
    points = sorted(curve.points, key=lambda point: point.savings)
    savings = [point.savings for point in points]
    steps = np.linspace(savings[0], savings[-1], len(points))
    below = np.interp(steps, savings, [point.line - point.loss for point in points])
    return PricedCurve(
        savings=tuple(savings),
        loss=tuple(point.loss for point in points),
        seeds=(np.array([point.windows for point in points]),),
        gain=Value(float(below.mean())),
        beats=Value(len(curve.below) / len(points)),
    )


def mean_curve(curves: Sequence[SavingsCurve]) -> SavingsCurve:
    """Return the mean curve of several seeds, at least one, at common savings."""
    if len(curves) == 1:
        return curves[0]
    grid = _common([curve.savings for curve in curves], RATES)
    gains = [curve.gain.mean for curve in curves if curve.gain is not None]
    return SavingsCurve(
        savings=tuple(grid.tolist()),
        loss=_mean(grid, [(curve.savings, curve.loss) for curve in curves]),
        line=_mean(grid, [(curve.savings, curve.line) for curve in curves]),
        area=value_of([curve.area.mean for curve in curves]),
        gain=value_of(gains) if gains else None,
        beats=value_of([curve.beats.mean for curve in curves]),
        priced=_mean_priced([curve.priced for curve in curves]),
        deviation=_deviation(grid, [(curve.savings, curve.loss) for curve in curves]),
    )


def _mean_priced(curves: Sequence[PricedCurve]) -> PricedCurve:
    grid = _common([curve.savings for curve in curves], STEPS)
    return PricedCurve(
        savings=tuple(grid.tolist()),
        loss=_mean(grid, [(curve.savings, curve.loss) for curve in curves]),
        seeds=tuple(_interpolated(grid, curve.savings, seed) for curve in curves for seed in curve.seeds),
        gain=value_of([curve.gain.mean for curve in curves]),
        beats=value_of([curve.beats.mean for curve in curves]),
        deviation=_deviation(grid, [(curve.savings, curve.loss) for curve in curves]),
    )


def _common(savings: Sequence[Sequence[float]], steps: int) -> Floats:
    """Return even steps over the savings that all curves reach."""
    return np.linspace(max(each[0] for each in savings), min(each[-1] for each in savings), steps)


def _mean(grid: Floats, curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, ...]:
    """Return the mean of curves, each of savings and values, at common savings."""
    return tuple(_at(grid, curves).mean(axis=0).tolist())


def _deviation(grid: Floats, curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, ...]:
    """Return the standard deviation over two or more such curves at common savings."""
    return tuple(_at(grid, curves).std(axis=0, ddof=1).tolist())


def _at(grid: Floats, curves: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Floats:
    """Interpolate curves on the grid, `[curves, steps]`."""
    return np.array([np.interp(grid, savings, values) for savings, values in curves])


def _interpolated(grid: Floats, savings: Sequence[float], values: Floats) -> Floats:
    """Interpolate the columns of values `[J, W]` on the grid, `[steps, W]`."""
    return np.stack([np.interp(grid, savings, window) for window in values.T], axis=1)


Tried = Mapping[str, SavingsCurve | str]
"""The curve of each run by its name, or why it has none."""


def tried_curve(reader: Reader, number: int) -> SavingsCurve | str:
    """Compute the curve of a run; where it has none, say why."""
    try:
        return run_curve(reader, number)
    except EetuiError as error:  # no statistics, no exits, or deleted meanwhile
        return str(error)


def column_curves(comparison: Comparison, tried: Tried) -> dict[int, SavingsCurve]:
    """Return the curve of each column evaluated on the tokens that most columns share, of its runs that have one."""
    main, found = main_fingerprint(comparison.columns), dict[int, SavingsCurve]()
    for index, column in enumerate(comparison.columns):
        curves = curves_of(column, tried)
        if column.fingerprint == main and curves:
            found[index] = mean_curve(curves)
    return found


def curves_of(column: Column, tried: Tried) -> list[SavingsCurve]:
    """Return the curves of a column's runs, of those that have one."""
    return [curve for run in column.runs if isinstance(curve := tried.get(run.name), SavingsCurve)]


def stored_curves(reader: Reader, comparison: Comparison) -> Tried:
    """Compute the curve of each stored run evaluated on the tokens that most columns share; a second each."""
    tried: dict[str, SavingsCurve | str] = {}
    main = main_fingerprint(comparison.columns)
    for run in (run for column in comparison.columns if column.fingerprint == main for run in column.runs):
        try:
            number = reader.find_whole(run.name)
        except EetuiError:
            tried[run.name] = f"{run.name} is not in the database"
        else:
            tried[run.name] = tried_curve(reader, number)
    return tried


def area_rows(columns: Sequence[Column], curves: Mapping[int, SavingsCurve]) -> tuple[Row, ...]:
    """Return the areas as rows of a table, for files."""
    if not curves:
        return ()

    def values(figure: Callable[[SavingsCurve], Value | None]) -> tuple[Value | None, ...]:
        return tuple(figure(curves[index]) if index in curves else None for index in range(len(columns)))

    seeds = tuple(curves[index].seeds if index in curves else 0 for index in range(len(columns)))
    rows = (
        Row("line.area", "Area below the static depths", "nats", values(lambda curve: curve.area)),
        Row("line.gain", "Below the static depths on average", "nats", values(lambda curve: curve.gain)),
        Row("line.beats", "Exit rates clearly below the static depths", "share", values(lambda curve: curve.beats)),
        Row("price.gain", "At one price, below them on average", "nats", values(lambda curve: curve.priced.gain)),
        Row("price.beats", "Prices clearly below the static depths", "share", values(lambda curve: curve.priced.beats)),
        *_furthest_rows([curves[index].priced.furthest if index in curves else None for index in range(len(columns))]),
    )
    return tuple(replace(row, seeds=seeds) for row in rows)


def _furthest_rows(points: Sequence[Furthest | None]) -> tuple[Row, ...]:
    saving = [None if point is None else point.savings for point in points]
    below = [None if point is None else -point.above for point in points]
    around = [None if point is None else point.interval for point in points]
    ends = [(None, None) if each is None else (-each.high, -each.low) for each in around]

    def row(key: str, label: str, unit: Unit, found: Iterable[float | None]) -> Row:
        return Row(f"price.furthest{key}", label, unit, tuple(None if n is None else Value(n) for n in found))

    return (
        row("", "At one price, below them where furthest", "nats", below),
        row(".low", "Furthest: lower end of the 95% interval", "nats", (low for low, _ in ends)),
        row(".high", "Furthest: upper end", "nats", (high for _, high in ends)),
        row(".savings", "Furthest: layers saved", "share", saving),
    )
