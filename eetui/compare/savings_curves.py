"""Quality against layer savings at every exit rate and every price, run by run, from stored statistics of tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.price_curve import price_curve
from core.analysis.stored_run import exiting_tokens, paid_costs, stored_run
from core.analysis.tradeoff import quality_curve, trade_off
from core.formulas import layers_saved
from core.metrics import Value
from core.store.reader import Reader
from eetui.compare.advice import main_fingerprint
from eetui.compare.columns import Column, value_of
from eetui.compare.comparison import Comparison, Row


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
        priced_savings, priced_loss: savings and loss at one price for all exits, at even steps of the savings.
        priced_gain: mean nats below the line over these steps.
        priced_beats: share of the prices at which early exit lies clearly below the line.
    """

    savings: tuple[float, ...]
    loss: tuple[float, ...]
    line: tuple[float, ...]
    area: Value
    gain: Value | None
    beats: Value
    priced_savings: tuple[float, ...]
    priced_loss: tuple[float, ...]
    priced_gain: Value
    priced_beats: Value


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
    priced = price_curve(table, paid_costs(run, "layers"), per_block, is_price=is_price)
    points = sorted(priced.points, key=lambda point: point.savings)
    savings, loss, line = np.array([(point.savings, point.loss, point.line) for point in points]).T  # [J] each
    steps = np.linspace(savings[0], savings[-1], len(points))
    below = np.interp(steps, savings, line - loss)
    return SavingsCurve(
        savings=tuple(trade.savings.tolist()),
        loss=tuple(trade.loss.tolist()),
        line=tuple(trade.line.tolist()),
        area=Value(trade.area),
        gain=None if trade.mean_gain is None else Value(trade.mean_gain),
        beats=Value(float(trade.beats.mean())),
        priced_savings=tuple(steps.tolist()),
        priced_loss=tuple(np.interp(steps, savings, loss).tolist()),
        priced_gain=Value(float(below.mean())),
        priced_beats=Value(len(priced.below) / len(points)),
    )


def mean_curve(curves: Sequence[SavingsCurve]) -> SavingsCurve:
    """Return the mean curve of several seeds, at least one, at each exit rate."""
    gains = [curve.gain.mean for curve in curves if curve.gain is not None]
    return SavingsCurve(
        savings=_mean([curve.savings for curve in curves]),
        loss=_mean([curve.loss for curve in curves]),
        line=_mean([curve.line for curve in curves]),
        area=value_of([curve.area.mean for curve in curves]),
        gain=value_of(gains) if gains else None,
        beats=value_of([curve.beats.mean for curve in curves]),
        priced_savings=_mean([curve.priced_savings for curve in curves]),
        priced_loss=_mean([curve.priced_loss for curve in curves]),
        priced_gain=value_of([curve.priced_gain.mean for curve in curves]),
        priced_beats=value_of([curve.priced_beats.mean for curve in curves]),
    )


def column_curves(comparison: Comparison, found: Mapping[str, SavingsCurve]) -> dict[int, SavingsCurve]:
    """Return the curve of each column evaluated on the tokens that most columns share, if each of its runs has one.

    Args:
        found: curves by run name.
    """
    main = main_fingerprint(comparison.columns)
    return {
        index: mean_curve([found[run.name] for run in column.runs])
        for index, column in enumerate(comparison.columns)
        if column.fingerprint == main and all(run.name in found for run in column.runs)
    }


def area_rows(columns: Sequence[Column], curves: Mapping[int, SavingsCurve]) -> tuple[Row, ...]:
    """Return the areas as rows of a table, for files."""
    if not curves:
        return ()

    def values(figure: Callable[[SavingsCurve], Value | None]) -> tuple[Value | None, ...]:
        return tuple(figure(curves[index]) if index in curves else None for index in range(len(columns)))

    return (
        Row("line.area", "Area below the static depths", "nats", values(lambda curve: curve.area)),
        Row("line.gain", "Below the static depths on average", "nats", values(lambda curve: curve.gain)),
        Row("line.beats", "Exit rates clearly below the static depths", "share", values(lambda curve: curve.beats)),
        Row("price.gain", "At one price, below them on average", "nats", values(lambda curve: curve.priced_gain)),
        Row("price.beats", "Prices clearly below the static depths", "share", values(lambda curve: curve.priced_beats)),
    )


def _mean(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(np.mean(values, axis=0).tolist())
