"""Early exit at every price, against the static depths: the curve of one price for all exits.

Thresholds of signals that are no prices are set on one half of the text and used on the other, so that none is judged
on the tokens it was made from. Signals that are prices were fitted to other text: their threshold is the price.

Shapes: K blocks, E exits (K - 1), N tokens, W windows, J prices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from core.analysis.token_table import Booleans, Floats, Integers, TokenTable, where_left
from core.costs import PricedCosts
from core.formulas import signal_price
from core.intervals import BLOCK_WINDOWS, WANTED_BLOCKS, Interval, over_windows
from core.pricing.policy import PricedTokens
from core.pricing.thresholds import is_on, left_at
from core.static_line import static_mixture

LOWEST, HIGHEST = 1e-4, 30.0
"""Prices between which the curve is drawn, nats for the cost of the whole model, beside price 0."""
COARSE, POINTS = 15, 31
"""Prices at equal ratios, and all prices: the others halve the largest gaps in savings."""
SET_ON = 32_768
"""Most tokens that thresholds are set on, every few of a longer text."""
TOLERANCE = 1e-9


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
        difference: loss less line, over windows; None where there are too few.
    """

    price: float
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    savings: float
    loss: float
    line: float
    difference: Interval | None

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
    left = {price: halves.left_at(price) for price in prices}
    savings = {price: halves.savings(left[price]) for price in prices}
    while len(prices) < POINTS:
        pairs = [pair for pair in pairwise(prices) if pair[0] > 0]
        low, high = max(pairs, key=lambda pair: abs(savings[pair[1]] - savings[pair[0]]))
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break
        left[middle] = halves.left_at(middle)
        savings[middle] = halves.savings(left[middle])
        prices = sorted(left)
    return PriceCurve(tuple(halves.point(price, left[price][0], savings[price], line) for price in prices))


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
            difference=over_windows((windows - line).tolist()),
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

    def left_at(self, price: float) -> tuple[Integers, Booleans]:
        """Return the block that each token leaves at, `[N]`, and whether each exit is on for it, bool `[E, N]`."""
        table = self.table
        if self.is_price:
            thresholds = self.whole.thresholds_at(price)
            return left_at(table.signal, thresholds), _on(thresholds, table.tokens)
        blocks, on = np.empty(table.tokens, np.int16), np.empty((table.exits, table.tokens), np.bool_)
        for half in (False, True):
            set_on, used = self.second == half, self.second != half
            thresholds = self._tokens(set_on).thresholds_at(price) if set_on.any() else self.whole.thresholds_at(price)
            blocks[used] = left_at(table.signal[:, used], thresholds)
            on[:, used] = _on(thresholds, int(used.sum()))
        return blocks, on

    def savings(self, left: tuple[Integers, Booleans]) -> float:
        """Return the share of the cost saved."""
        blocks, on = left
        cost = np.asarray(self.costs.leaving)[blocks].mean()
        for block, fee in enumerate(self.costs.arriving):
            cost += fee * float((on[block] & (blocks >= block)).mean())
        return 1 - float(cost)

    def point(self, price: float, blocks: Integers, savings: float, static: "StaticLine") -> PricePoint:
        """Return a point of the curve, with tokens that leave at those blocks `[N]`."""
        thresholds = self.whole.thresholds_at(price)
        return static.point(price, thresholds, blocks, savings)

    @cached_property
    def whole(self) -> PricedTokens:
        return self._some(np.arange(self.table.tokens))

    @cached_property
    def second(self) -> Booleans:
        """Mask of the tokens of the second half, `[N]`."""
        window = np.arange(self.table.tokens) // self.table.seq_len
        turn = min(BLOCK_WINDOWS, max(1, self.table.windows // WANTED_BLOCKS))
        second: Booleans = window // turn % 2 == 1
        return second

    @cached_property
    def _made(self) -> dict[bool, PricedTokens]:
        return {}

    def _tokens(self, mask: Booleans) -> PricedTokens:
        key = bool(mask[0])
        if key not in self._made:
            self._made[key] = self._some(np.flatnonzero(mask))
        return self._made[key]

    def _some(self, tokens: Integers) -> PricedTokens:
        some, table = tokens[:: max(1, len(tokens) // SET_ON)], self.table
        return PricedTokens(
            table.cross_entropy[:, some].astype(np.float64), table.signal[:, some], self.costs, self.is_price
        )


def priced_tokens(table: TokenTable, costs: PricedCosts, *, is_price: bool, most: int | None = None) -> PricedTokens:
    """Return a table's tokens for trying prices on; of a longer text every few, at least `most`."""
    some = slice(None, None, max(1, table.tokens // most) if most else 1)
    return PricedTokens(table.cross_entropy[:, some].astype(np.float64), table.signal[:, some], costs, is_price)


def price_claims(table: TokenTable, block: int, costs: PricedCosts) -> tuple[Floats, Floats]:
    """Return the gain that price signals claim for going on at an exit, and the gain that came true, nats, `[N]` each.

    A signal claims that up to its price a token should stay. So going on, and then following the later exits at that
    same price, is claimed to save just the price of the depth it takes.
    """
    prices = signal_price(np.clip(table.signal.astype(np.float64), TOLERANCE, 1 - TOLERANCE))  # [E, N]
    stops = np.full(table.tokens, table.blocks - 1)
    for later in reversed(range(block + 1, table.exits)):
        stops = np.where(prices[later] <= prices[block], later, stops)
    taken = np.array((0.0, *costs.saved(block)))[stops - block]  # [N]
    realised = table.cross_entropy[block].astype(np.float64) - where_left(table.cross_entropy, stops)
    return prices[block] * taken, realised


def _on(thresholds: Sequence[float], tokens: int) -> Booleans:
    on = np.array([is_on(threshold) for threshold in thresholds], np.bool_)
    return np.repeat(on[:, None], tokens, axis=1)
