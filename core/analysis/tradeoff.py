"""Quality against savings: early exit at every threshold, compared with the static depths.

The line to beat consists of the static depths and their mixtures: all tokens leave at one block, or each at one of two
blocks at random, which needs no signal and no training. Early exit is worthwhile where its loss is below that line.

Shapes: K blocks, E exits, J candidates (sets of thresholds), N tokens.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.threshold_sweep import sweep, threshold_grid
from core.analysis.token_table import Booleans, Floats, TokenTable
from core.costs import ExitCosts
from core.formulas import layers_saved
from core.intervals import block_edges, student_t
from core.pricing.thresholds import where_left
from core.static_line import static_mixture

RATES = 201
"""Number of points of a curve, at equal steps of the exit rate from 0 to 1."""
TOLERANCE = 1e-9
"""Difference in nats of losses, and in share of savings, up to which two values are the same."""


@dataclass(frozen=True)
class DepthSavings:
    """Savings of a token that leaves at each block, as a share of the full model (`[K]` each).

    Attributes:
        layers: share of the layers that are not run.
        flops: share of the FLOPs, with the cost of the signals and of keys and values in skipped layers (`core.costs`).
        static_flops: share of the FLOPs if every token leaves at that block, without signals or skipped layers' keys.
    """

    layers: tuple[float, ...]
    flops: tuple[float, ...]
    static_flops: tuple[float, ...]


def depth_savings(cost: ExitCosts) -> DepthSavings:
    """Compute the savings of a token that leaves at each block."""
    return DepthSavings(
        layers=layers_saved(cost.model.block_layers),
        flops=cost.savings_if_attended,
        static_flops=tuple(1 - flops / cost.full for flops in cost.static),
    )


@dataclass(frozen=True, eq=False)
class QualityCurve:
    """Results at each exit rate, from 0 to 1.

    Attributes:
        rates: target share of the active tokens that exits at every exit, `[J]`.
        thresholds: thresholds of each rate, `[J, E]`.
        loss: mean loss in nats, `[J]`.
        shares: share of all tokens that leaves at each block, `[J, K]`.
        block_excess: mean loss above that of all blocks in each of B pieces of the text, nats, `[B, J]`; none where
            there are too few windows for an interval.
    """

    rates: Floats
    thresholds: Floats
    loss: Floats
    shares: Floats
    block_excess: Floats

    def savings(self, per_block: Sequence[float]) -> Floats:
        """Return the mean savings, `[J]`, from those of a token that leaves at each block, `[K]`."""
        savings: Floats = self.shares @ np.asarray(per_block)
        return savings


def quality_curve(table: TokenTable, points: int = RATES) -> QualityCurve:
    """Compute the curve; one exit rate sets the thresholds of all exits (`core.analysis.threshold_sweep`)."""
    rates = np.linspace(0, 1, points)  # [J]
    tried = sweep(table, threshold_grid(table.signal, rates))
    blocks = len(block_edges(table.windows)) - 1
    pieces = (
        sweep(table, tried.thresholds, table.tokens // blocks).excess[:blocks] if blocks > 0 else np.empty((0, points))
    )
    return QualityCurve(rates, tried.thresholds, table.mean_loss[-1] + tried.excess[0], tried.shares[0], pieces)


def static_weights(savings: Sequence[float], losses: Sequence[float] | Floats, at: Floats) -> Floats:
    """Return the share of the tokens at each static depth on the static line, `[J, K]` (`core.static_line`)."""
    plain = [float(loss) for loss in losses]
    return np.array([static_mixture(savings, plain, float(saved)).weights for saved in at])


@dataclass(frozen=True, eq=False)
class TradeOff:
    """A curve and the line to beat, for one kind of savings; the points are the curve's, with rising savings (`[J]`).

    Attributes:
        savings: share of the full model's cost; negative where the signals cost more than is saved.
        loss: mean loss of early exit, nats.
        line: mean loss of the static depths at the same savings, nats.
        possible: mean loss of exits that know every block's loss, nats: a bound, not a method.
        highest: upper end of the 95% interval over windows of `loss − line`, nats; NaN with too few windows.
    """

    savings: Floats
    loss: Floats
    line: Floats
    possible: Floats
    highest: Floats

    @property
    def beats(self) -> Booleans:
        """Whether early exit saves something, and its loss is clearly below that of the static line, `[J]`."""
        beats: Booleans = (self.savings > 0) & (self.highest < -TOLERANCE)
        return beats

    @property
    def area(self) -> float:
        """Area between line and curve over positive savings, nats × savings; negative if the curve lies above."""
        return self._below_line(self.loss)

    @property
    def mean_gain(self) -> float | None:
        """Mean distance below the line: area ÷ width of the savings, nats; None if nothing is saved."""
        saved = np.maximum(self.savings, 0)
        width = float(saved[-1] - saved[0])
        return self.area / width if width > 0 else None

    @property
    def share_of_possible(self) -> float | None:
        """Area as a share of that of the best possible exits: 1 is perfect, 0 the static line.

        None if no exits could beat the line.
        """
        possible = self._below_line(self.possible)
        return self.area / possible if possible > TOLERANCE else None

    def _below_line(self, loss: Floats) -> float:
        return float(np.trapezoid(self.line - loss, np.maximum(self.savings, 0)))


def trade_off(table: TokenTable, curve: QualityCurve, per_block: Sequence[float], static: Sequence[float]) -> TradeOff:
    """Compare a curve with the static depths.

    Args:
        per_block: savings of a token that leaves at each block by early exit, `[K]`.
        static: savings of each static depth, `[K]`.
    """
    savings = curve.savings(per_block)
    weights = static_weights(static, table.mean_loss, savings)  # [J, K]
    return TradeOff(
        savings=savings,
        loss=curve.loss,
        line=weights @ table.mean_loss,
        possible=np.interp(savings, *possible_losses(table, per_block)),
        highest=_highest(table, curve, weights),
    )


def _highest(table: TokenTable, curve: QualityCurve, weights: Floats) -> Floats:
    """Return the upper ends of the intervals of early exit's loss minus the line's over windows, `[J]`.

    Args:
        weights: share of the tokens at each static depth on the line, `[J, K]`.
    """
    blocks = len(curve.block_excess)
    if not blocks:
        return np.full(len(weights), np.nan)
    size = table.tokens // blocks
    static = np.stack(
        [table.excess(block)[: blocks * size].reshape(blocks, size).mean(1) for block in range(table.blocks)]
    )
    differences = curve.block_excess - (weights @ static).T  # [B, J]
    error = differences.std(axis=0, ddof=1) / math.sqrt(blocks)  # [J], as in `over_windows`
    highest: Floats = curve.loss - weights @ table.mean_loss + student_t(blocks - 1) * error
    return highest


def possible_losses(table: TokenTable, per_block: Sequence[float]) -> tuple[Floats, Floats]:
    """Return savings and mean loss of the best possible exits, in the order of their savings.

    The first point has all tokens at the last block. Each next one moves a token to a block that saves more, at the
    lowest price in nats per savings. The lowest point is the oracle.
    """
    savings = np.asarray(per_block)  # [K]
    steps = np.concatenate(list(_steps(table.cross_entropy, savings)), axis=1)  # [2, steps]
    steps = steps[:, np.argsort(steps[1] / steps[0])]  # by price
    moved = np.cumsum(steps, axis=1) / table.tokens  # [2, steps]
    return np.append(savings[-1], savings[-1] + moved[0]), table.mean_loss[-1] + np.append(0, moved[1])


def _steps(loss: Floats, savings: Floats) -> Iterator[Floats]:
    """Yield the tokens' steps from the last block to the one that saves most: savings gained and nats lost, `[2, n]`.

    A token's steps are the lower convex hull of its losses over the savings, so each has a higher price than the last.
    """
    yield np.empty((2, 0))
    tokens = np.arange(loss.shape[1])  # those that can still save more, [n]
    at = np.full(len(tokens), len(savings) - 1)  # block of each token, [N]
    while len(tokens := tokens[savings[at[tokens]] < savings.max()]):
        here = at[tokens]  # [n]
        gained = savings[:, None] - savings[here]  # [K, n]
        lost = loss[:, tokens] - where_left(loss[:, tokens], here).astype(np.float64)  # [K, n]
        price = np.divide(lost, gained, out=np.full_like(gained, np.inf), where=gained > 0)  # [K, n]
        best = price.argmin(axis=0)  # [n]
        yield np.stack([where_left(gained, best), where_left(lost, best)])
        at[tokens] = best
