"""Candidates of a calibration: sets of thresholds from the fewest exits to the most, each made from one number.

Shapes: E exits, J candidates.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.analysis.price_curve import HIGHEST, LOWEST, priced_tokens
from core.analysis.threshold_sweep import threshold_grid
from core.analysis.token_table import Floats, TokenTable
from core.costs import PricedCosts
from core.formulas import price_signal
from core.pricing.thresholds import is_on

CANDIDATES = 100
"""Number of exit rates that are tried, from 1% to 100%, or of prices at equal ratios."""
Over = Literal["rate", "price"]
"""What candidates are made from: exit rates, or prices."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Sets of thresholds, and the number that each was made from.

    Attributes:
        thresholds: no column rises, `[J, E]`.
        made_from: rising rates or prices, `[J]`.
    """

    over: Over
    thresholds: Floats
    made_from: Floats

    def price(self, index: int) -> float | None:
        """Return the price of a candidate, nats for the cost of the whole model; None for an exit rate's."""
        return float(self.made_from[index]) if self.over == "price" else None


def rate_candidates(table: TokenTable) -> Candidates:
    """Return candidates at one exit rate for all exits, set on these tokens."""
    rates = np.arange(1, CANDIDATES + 1) / CANDIDATES
    return Candidates("rate", threshold_grid(table.signal, rates), rates)


def price_candidates(table: TokenTable, costs: PricedCosts, *, is_price: bool) -> Candidates:
    """Return candidates at one price for all exits, set on these tokens, those with an exit that is on.

    Thresholds that a higher price would raise, or an exit that it would turn off, stay as they are: so candidates are
    nested, and a token never leaves later at a higher price.

    Args:
        is_price: whether signals are prices themselves; then they need no tokens.
    """
    prices = np.geomspace(LOWEST, HIGHEST, CANDIDATES)
    if is_price:
        rows = [(float(np.float32(price_signal(price))),) * table.exits for price in prices.tolist()]
    else:
        tokens = priced_tokens(table, costs, is_price=False)
        rows = [tokens.thresholds_at(price) for price in prices.tolist()]
    nested = np.minimum.accumulate(np.array(rows, np.float64), axis=0)
    on = np.array([any(map(is_on, row)) for row in nested.tolist()])
    return Candidates("price", nested[on], prices[on])
