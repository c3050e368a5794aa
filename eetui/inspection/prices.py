"""Prices of a run under inspection: thresholds at one, savings, and curves against the static depths."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from core.analysis.price_curve import HIGHEST, LOWEST, PriceCurve, PricePoint, StaticLine, priced_tokens
from core.analysis.price_curve import price_curve as curve_of_prices
from core.analysis.stored_run import StoredRun, exit_savings, paid_costs
from core.analysis.token_table import TokenTable
from core.analysis.tradeoff import DepthSavings, TradeOff, quality_curve, trade_off
from core.analysis.what_if import Setting
from core.costs import PricedCosts
from core.events import Priced
from core.pricing.policy import PricedTokens
from core.pricing.search import closest
from core.pricing.thresholds import is_on

RATIO = 1.02
"""Ratio of neighbouring prices, for the smallest step."""
STEPS = 5
"""Number of smallest steps in a usual one."""


@dataclass(frozen=True, eq=False)
class Curves:
    """What early exit gives at one price, and at one exit rate, for all exits."""

    price: PriceCurve
    rate: TradeOff


@dataclass(frozen=True, eq=False)
class Prices:
    """Prices on a run's evaluated tokens.

    Attributes:
        cost: what a price is paid for.
        found: the price that set the run's own thresholds; None where none did.
    """

    table: TokenTable
    cost: Literal["layers", "flops"]
    costs: PricedCosts
    savings: DepthSavings
    is_price: bool
    found: Priced | None

    def thresholds_at(self, price: float) -> tuple[float, ...]:
        """Return the threshold of each exit at a price, set on the evaluated tokens; every few of a longer text."""
        return self._tokens.thresholds_at(price)

    def near(self, savings: float) -> float:
        """Return the price that saves about as much."""
        return closest(self._tokens, "savings", savings).price

    def saved(self, setting: Setting) -> float:
        """Return the share of the cost that thresholds save; exits that are off cost nothing."""
        return 1 - self.costs.mean(setting.outcome.exit_shares, [is_on(each) for each in setting.thresholds])

    def against_static(self, setting: Setting) -> PricePoint:
        """Compare thresholds with the static depths at the same savings."""
        return self._line.point(0.0, setting.thresholds, setting.outcome.left_at, self.saved(setting))

    def curves(self) -> Curves:
        """Work out both curves; it takes a second for a long text."""
        table, static = self.table, self._static
        per_block = self.savings.layers if self.cost == "layers" else self.savings.flops
        return Curves(
            price=curve_of_prices(table, self.costs, static, is_price=self.is_price),
            rate=trade_off(table, quality_curve(table), per_block, static),
        )

    @property
    def _static(self) -> tuple[float, ...]:
        return self.savings.layers if self.cost == "layers" else self.savings.static_flops

    @cached_property
    def _line(self) -> StaticLine:
        return StaticLine(self.table, self._static)

    @cached_property
    def _tokens(self) -> PricedTokens:
        return priced_tokens(self.table, self.costs, is_price=self.is_price)


def prices_of(run: StoredRun, table: TokenTable) -> Prices:
    """Return the prices of a run, paid for what its config says."""
    cost = run.config.exit.cost
    is_price = run.method.claims == "price"
    return Prices(table, cost, paid_costs(run, cost), exit_savings(run), is_price, run.state.priced)


def moved_price(price: float, steps: float) -> float:
    """Return the price so many smallest steps further, at equal ratios; 0 lies below the lowest."""
    if not price:
        return LOWEST if steps > 0 else 0.0
    further = price * RATIO**steps
    return 0.0 if further < LOWEST else min(further, HIGHEST)
