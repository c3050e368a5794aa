"""Exits at a price: each token leaves where its further depth costs more than it is expected to save.

A price is paid for the cost of the whole model, in nats: a token that leaves at block k pays `loss_k + price · cost_k`.
Where a signal is itself a price (`price_signal`), the price is the threshold of every exit. Any other signal is judged
by the tokens at hand, from the last exit backwards (optimal stopping by backward induction): the threshold of an exit
is the one at which leaving there or following the later exits costs least in all. That is the zero of the monotone
regression of the gain of going on, given the signal, by pooled adjacent violators.

Shapes: K blocks, E exits (K - 1), N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.costs import PricedCosts
from core.formulas import price_signal
from core.pricing.thresholds import NEVER, Floats, Integers, is_on, left_at, where_left


@dataclass(frozen=True, eq=False)
class PricedTokens:
    """Tokens on which prices are tried.

    Attributes:
        loss: cross-entropy at each block in nats, `[K, N]`.
        signal: exit signals, `[E, N]`.
        costs: what a price is paid for.
        is_price: whether signals are prices themselves (`price_signal`).
    """

    loss: Floats
    signal: Floats
    costs: PricedCosts
    is_price: bool

    def thresholds_at(self, price: float) -> tuple[float, ...]:
        """Return the threshold of each exit at a price; `NEVER` where an exit costs as much as it saves, or more.

        Where keys and values of tokens that left cost something, all that arrive at one of the exits may have to leave
        there (threshold 0): then nobody needs any in the blocks after it.
        """
        exits = len(self.signal)
        ends = range(exits, -1, -1) if any(self.costs.keys_values) else (exits,)
        found = [(self._prices if self.is_price else self._inducted)(price, end) for end in ends]
        return min(found, key=lambda thresholds: self.outcome(thresholds, price).paid)

    def at_depth(self, block: int, price: float = 0.0) -> "Outcome":
        """Return what a fixed depth gives: all tokens leave at a block."""
        return self.outcome([NEVER] * block + self._end(block), price)

    def part(self, tokens: Integers) -> "PricedTokens":
        """Return some of the tokens, by their numbers."""
        return replace(self, loss=self.loss[:, tokens], signal=self.signal[:, tokens])

    def _prices(self, price: float, end: int) -> tuple[float, ...]:
        """Return the price as the threshold of all exits before `end`, where all leave; off if that saves as much."""
        thresholds = [float(np.float32(price_signal(price)))] * end + self._end(end)
        for block in reversed(range(end)):
            without = [*thresholds[:block], NEVER, *thresholds[block + 1 :]]
            if self.outcome(without, price).savings >= self.outcome(thresholds, price).savings:
                thresholds = without
        return tuple(thresholds)

    def _end(self, end: int) -> list[float]:
        """Return the thresholds from the exit on at which all leave; none if that is the last block."""
        return [0.0, *[NEVER] * (len(self.signal) - end - 1)] if end < len(self.signal) else []

    def outcome(self, thresholds: Sequence[float], price: float) -> "Outcome":
        """Return what thresholds give on these tokens."""
        blocks = left_at(self.signal, thresholds)
        shares = tuple((np.bincount(blocks, minlength=len(self.loss)) / len(blocks)).tolist())
        loss = float(where_left(self.loss, blocks).mean(dtype=np.float64))
        cost = self.costs.mean(shares, [is_on(threshold) for threshold in thresholds])
        return Outcome(price, tuple(thresholds), shares, loss, 1 - cost)

    def at_price(self, price: float) -> "Outcome":
        """Return what a price gives on these tokens."""
        return self.outcome(self.thresholds_at(price), price)

    def _inducted(self, price: float, end: int) -> tuple[float, ...]:
        """Return the thresholds of all exits at a price, set backwards from the block at which all leave that arrive.

        An exit is off where no threshold saves what its signal costs every token that arrives.
        """
        costs = self.costs
        last = costs.leaving[end] + sum(costs.arriving[end : end + 1])
        going_on = self.loss[end] + price * last  # what a token pays that passes this exit, [N]
        thresholds = list[float]()
        for block in reversed(range(end)):
            leaving = self.loss[block] + price * costs.leaving[block]  # [N]
            threshold, change = best_threshold(self.signal[block], leaving - going_on, self._orders[block])
            fee = price * costs.arriving[block]
            on = change + fee * len(going_on) < 0
            thresholds.append(threshold if on else NEVER)
            if on:
                going_on = np.where(self.signal[block] >= threshold, leaving, going_on) + fee
        return (*reversed(thresholds), *self._end(end))

    @cached_property
    def _orders(self) -> list[Integers]:
        """Tokens by falling signal of each exit."""
        return [np.argsort(-signal, kind="stable") for signal in self.signal]


@dataclass(frozen=True)
class Outcome:
    """What thresholds give.

    Attributes:
        price: nats for the cost of the whole model.
        shares: share of the tokens that leaves at each block, `[K]`.
        loss: mean, nats.
        savings: share of the whole model's cost; what signals cost is taken off.
    """

    price: float
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    loss: float
    savings: float

    @property
    def paid(self) -> float:
        """What tokens pay on average: their loss, and the price of their cost, nats."""
        return self.loss + self.price * (1 - self.savings)


def best_threshold(signal: Floats, change: Floats, order: Integers) -> tuple[float, float]:
    """Return the threshold above which the summed change is least, and that sum; `NEVER` and 0 if none is below 0.

    Args:
        signal: signal of each token, `[N]`; tokens that tie leave together.
        change: what a token's leaving adds to the sum, `[N]`.
        order: the tokens by falling signal, `[N]`.
    """
    sums, falling = np.cumsum(change[order], dtype=np.float64), signal[order]  # [N] each
    ends = np.append(falling[1:] != falling[:-1], True)  # the last of those that tie
    best = int(np.where(ends, sums, np.inf).argmin())
    return (float(falling[best]), float(sums[best])) if sums[best] < 0 else (NEVER, 0.0)
