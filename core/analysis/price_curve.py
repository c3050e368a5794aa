"""Early exit at every price, against the static depths: the curve of one price for all exits.

Thresholds of signals that are no prices are set on one half of the text and used on the other, so that none is judged
on the tokens it was made from. Signals that are prices were fitted to other text: their threshold is the price.

Shapes: K blocks, E exits (K - 1), N tokens, W windows, J prices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from core.analysis.token_table import Floats, Integers, TokenTable
from core.costs import PricedCosts
from core.formulas import signal_price
from core.intervals import BLOCK_WINDOWS, WANTED_BLOCKS, Interval, over_windows
from core.pricing.policy import PricedTokens
from core.pricing.thresholds import is_on, left_at, where_left
from core.static_line import static_mixture

LOWEST, HIGHEST = 1e-4, 30.0
"""Prices between which the curve is drawn, nats for the cost of the whole model, beside price 0."""
COARSE, POINTS = 15, 31
"""Prices at equal ratios, and all prices: the others halve the largest gaps in savings."""
SET_ON = 32_768
"""Most tokens that thresholds are set on, every few of a longer text."""
INSIDE = 1e-9
"""How far signals are kept from 0 and 1, whose price is infinite."""


@dataclass(frozen=True, eq=False)
class PricePoint:
    """Early exit at one price.

    Attributes:
        price: nats for the cost of the whole model.
        thresholds: threshold of each exit, as set on all tokens, `[E]`.
        shares: share of the tokens that leaves at each block, `[K]`.
        savings: share of the cost saved; exits that are off cost nothing.
        loss: mean, nats.
        line: mean loss of the static depths at the same savings, nats.
        windows: loss less line of each window, `[W]`.
    """

    price: float
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    savings: float
    loss: float
    line: float
    windows: tuple[float, ...] = field(repr=False)

    @cached_property
    def difference(self) -> Interval | None:
        """Loss less line, over windows; None where there are too few."""
        return over_windows(self.windows)

    @property
    def clearly_below(self) -> bool:
        """Whether it saves something and its interval lies below the static line."""
        return self.savings > 0 and self.difference is not None and self.difference.high < 0


@dataclass(frozen=True, eq=False)
class PriceCurve:
    """Points with rising prices."""

    points: tuple[PricePoint, ...]

    @property
    def below(self) -> tuple[PricePoint, ...]:
        """Points that save something and whose interval lies below the static line."""
        return tuple(point for point in self.points if point.clearly_below)

    @property
    def lowest(self) -> PricePoint | None:
        """Point that lies furthest below the static line; None if none does clearly."""
        return min(self.below, key=lambda point: point.loss - point.line, default=None)

    def spread(self, count: int) -> tuple[PricePoint, ...]:
        """Return up to that many points, spread evenly over the savings."""
        savings = np.array([point.savings for point in self.points])
        wanted = np.linspace(savings.min(), savings.max(), count)
        chosen = sorted({int(np.abs(savings - at).argmin()) for at in wanted})
        return tuple(self.points[index] for index in chosen)


def price_curve(table: TokenTable, costs: PricedCosts, static: Sequence[float], *, is_price: bool) -> PriceCurve:
    """Compute the curve.

    Args:
        costs: what a price is paid for.
        static: savings of each static depth in the same cost, `[K]`.
        is_price: whether the signals are prices.
    """
    halves, line = _Halves(table, costs, is_price), StaticLine(table, tuple(static))
    prices = [0.0, *np.geomspace(LOWEST, HIGHEST, COARSE).tolist()]
    found = {price: halves.at_price(price) for price in prices}  # blocks [N] and savings
    while len(prices) < POINTS:
        pairs = [pair for pair in pairwise(prices) if pair[0] > 0]
        low, high = max(pairs, key=lambda pair: abs(found[pair[1]][1] - found[pair[0]][1]))
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break
        found[middle] = halves.at_price(middle)
        prices = sorted(found)
    return PriceCurve(tuple(line.point(price, halves.whole.thresholds_at(price), *found[price]) for price in prices))


@dataclass(frozen=True, eq=False)
class StaticLine:
    """The static depths of a table, and mixtures of two, to compare with early exit.

    Attributes:
        savings: savings of each static depth, `[K]`.
    """

    table: TokenTable
    savings: tuple[float, ...]

    def point(self, price: float, thresholds: tuple[float, ...], blocks: Integers, savings: float) -> PricePoint:
        """Compare with tokens that leave at those blocks `[N]`, and save so much."""
        table, loss = self.table, where_left(self.table.cross_entropy, blocks)
        windows = loss.reshape(table.windows, -1).mean(axis=1, dtype=np.float64)  # [W]
        weights = static_mixture(self.savings, table.mean_loss.tolist(), savings).weights
        line = np.asarray(weights) @ self._window_losses  # [W]
        return PricePoint(
            price=price,
            thresholds=thresholds,
            shares=tuple(table.exit_shares(blocks).tolist()),
            savings=savings,
            loss=float(windows.mean()),
            line=float(line.mean()),
            windows=tuple((windows - line).tolist()),
        )

    @cached_property
    def _window_losses(self) -> Floats:
        """Mean loss of each window at each block, `[K, W]`."""
        table = self.table
        losses: Floats = table.cross_entropy.reshape(table.blocks, table.windows, -1).mean(axis=2, dtype=np.float64)
        return losses


@dataclass(frozen=True, eq=False)
class _Halves:
    """A table whose windows are halved in turns of blocks, so that both halves know the whole text."""

    table: TokenTable
    costs: PricedCosts
    is_price: bool

    def at_price(self, price: float) -> tuple[Integers, float]:
        """Return the block that each token leaves at, `[N]`, and the share of the cost saved."""
        table, cost = self.table, 0.0
        blocks = np.empty(table.tokens, np.int16)
        for set_on, used in self._turns:
            thresholds, signal = set_on.thresholds_at(price), table.signal[:, used]
            blocks[used] = left_at(signal, thresholds)
            shares = np.bincount(blocks[used], minlength=table.blocks) / signal.shape[1]
            part = self.costs.mean(shares.tolist(), [is_on(threshold) for threshold in thresholds])
            cost += part * signal.shape[1] / table.tokens
        return blocks, 1 - cost

    @cached_property
    def whole(self) -> PricedTokens:
        return priced_tokens(self.table, self.costs, is_price=self.is_price)

    @cached_property
    def _turns(self) -> list[tuple[PricedTokens, Integers | slice]]:
        """Tokens that thresholds are set on, and those that they are used on: each half for the other.

        Prices need no tokens, and a text of one turn has no other half: they are set on all and used on all.
        """
        window = np.arange(self.table.tokens) // self.table.seq_len
        turn = min(BLOCK_WINDOWS, max(1, self.table.windows // WANTED_BLOCKS))
        second = window // turn % 2 == 1
        if self.is_price or not second.any():
            return [(self.whole, slice(None))]
        halves = [np.flatnonzero(half) for half in (~second, second)]
        set_on = [priced_tokens(self.table, self.costs, is_price=False, tokens=half) for half in halves]
        return list(zip(set_on, reversed(halves), strict=True))


def priced_tokens(
    table: TokenTable, costs: PricedCosts, *, is_price: bool, tokens: Integers | None = None
) -> PricedTokens:
    """Return a table's tokens for setting thresholds on, every few where there are many more than `SET_ON`.

    Args:
        tokens: numbers of the tokens to take; None: all.
    """
    every = np.arange(table.tokens) if tokens is None else tokens
    some = every[:: max(1, len(every) // SET_ON)]
    return PricedTokens(table.cross_entropy[:, some].astype(np.float64), table.signal[:, some], costs, is_price)


def price_claims(table: TokenTable, block: int, costs: PricedCosts) -> tuple[Floats, Floats]:
    """Return the gain that price signals claim for going on at an exit, and the gain that came true, nats, `[N]` each.

    A signal claims that up to its price a token should stay. So going on, and then following the later exits at that
    same price, is claimed to save just the price of the depth it takes.
    """
    prices = signal_price(np.clip(table.signal.astype(np.float64), INSIDE, 1 - INSIDE))  # [E, N]
    stops = np.full(table.tokens, table.blocks - 1)
    for later in reversed(range(block + 1, table.exits)):
        stops = np.where(prices[later] <= prices[block], later, stops)
    taken = np.array((0.0, *costs.saved(block)))[stops - block]  # [N]
    realised = table.cross_entropy[block].astype(np.float64) - where_left(table.cross_entropy, stops)
    return prices[block] * taken, realised
