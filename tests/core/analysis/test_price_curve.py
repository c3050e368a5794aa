"""Early exit at every price, against the static depths."""

from dataclasses import replace

import numpy as np
import pytest

from core.analysis.price_curve import price_claims, price_curve
from core.analysis.token_table import Floats, TokenTable
from core.analysis.tradeoff import static_weights
from core.costs import PricedCosts
from core.formulas import price_signal
from tests.core.analysis.tables import knowing_table, random_table

LAYERS = PricedCosts((1 / 3, 2 / 3, 1.0), (0.0, 0.0))
SAVED = (2 / 3, 1 / 3, 0.0)


def with_prices(table: TokenTable, gain: Floats) -> TokenTable:
    """Return a table whose signals are prices: a predicted gain of all blocks `[E, N]`, for what they cost."""
    cost = np.array([[2 / 3], [1 / 3]])
    return replace(table, signal=price_signal(gain / cost).astype(np.float32))


def gain_of_all(table: TokenTable) -> Floats:
    gain: Floats = (table.cross_entropy[:2] - table.cross_entropy[2]).astype(np.float64)
    return gain


@pytest.mark.parametrize("is_price", [True, False])
def test_signals_that_know_the_gain_lie_below_the_static_line(is_price: bool) -> None:
    table = knowing_table(3, 8000)
    curve = price_curve(with_prices(table, gain_of_all(table)), LAYERS, SAVED, is_price=is_price)
    middle = [point for point in curve.points if 0.2 < point.savings < 0.6]
    assert len(middle) >= 3
    assert all(point.loss < point.line for point in middle)
    assert curve.lowest is not None
    assert curve.lowest in curve.below


def test_signals_that_know_nothing_are_nowhere_clearly_below_it() -> None:
    table = random_table(3, 6000)
    blind = with_prices(table, np.random.default_rng(1).normal(0, 0.1, (2, table.tokens)))
    for is_price in (True, False):
        curve = price_curve(blind, LAYERS, SAVED, is_price=is_price)
        assert len(curve.below) <= len(curve.points) // 10


def test_a_price_s_figures_are_those_of_its_thresholds() -> None:
    table = knowing_table(3, 4000)
    priced = with_prices(table, gain_of_all(table))
    for point in price_curve(priced, LAYERS, SAVED, is_price=True).points[::5]:
        left_at = priced.left_at(point.thresholds)
        assert point.shares == pytest.approx(priced.exit_shares(left_at).tolist())
        assert point.savings == pytest.approx(float(np.dot(point.shares, SAVED)))
        weights = static_weights(SAVED, table.mean_loss.tolist(), np.array([point.savings]))[0]
        assert point.line == pytest.approx(weights @ table.mean_loss, abs=1e-6)


def test_few_points_are_spread_over_all_savings() -> None:
    table = knowing_table(3, 4000)
    curve = price_curve(with_prices(table, gain_of_all(table)), LAYERS, SAVED, is_price=True)
    few = [point.savings for point in curve.spread(5)]
    every = [point.savings for point in curve.points]
    assert (few[0], few[-1]) == (min(every), max(every))
    assert len(few) == 5
    assert max(np.diff(few)) < 0.3


def test_a_price_claims_to_be_what_going_on_saves_for_its_cost() -> None:
    table = knowing_table(3, 4000)
    claimed, realised = price_claims(with_prices(table, gain_of_all(table)), 1, LAYERS)
    assert claimed == pytest.approx(realised, abs=1e-4)
    claimed, realised = price_claims(with_prices(table, gain_of_all(table) + 0.25), 1, LAYERS)
    assert claimed - realised == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("windows", [8, 25, 33])
def test_short_texts_are_not_judged_on_the_tokens_that_thresholds_were_set_on(windows: int) -> None:
    above = []
    for seed in range(20):
        table = random_table(3, 8 * windows, seed)
        first = price_curve(table, LAYERS, SAVED, is_price=False).points[0]
        above.append(first.loss - first.line)
    assert np.mean(above) > 0  # where they were set, no point at price 0 lies above
