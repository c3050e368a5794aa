"""The search for the price that reaches a target."""

import numpy as np
import pytest

from core.costs import PricedCosts
from core.errors import ConfigError
from core.pricing.policy import PricedTokens
from core.pricing.search import check_target, largest_savings, reach
from core.static_line import static_mixture
from tests.core.pricing.test_policy import DEAR, LAYERS, tokens


@pytest.mark.parametrize("wanted", [0.2, 0.35, 0.5, 0.65])
def test_savings_are_reached(wanted: float) -> None:
    found = reach(tokens(0, count=4000), "savings", wanted)
    assert found.savings == pytest.approx(wanted, abs=0.005) or (found.price == 0 and found.savings > wanted)


@pytest.mark.parametrize("budget", [0.0, 0.01, 0.1, 50.0])
def test_a_loss_budget_is_kept_and_used(budget: float) -> None:
    some = tokens(1, count=4000)
    full = float(some.loss[-1].mean())
    found = reach(some, "loss", budget)
    assert found.loss <= full + budget + 1e-9
    largest = some.at_price(1e3)
    assert found.loss > full + budget - 0.01 or found.savings == largest.savings


def test_between_two_prices_that_jump_exit_rates_are_moved() -> None:
    loss = np.vstack([np.full(1000, 1.1), np.ones(1000)])
    signal = np.linspace(0.2, 0.8, 1000, dtype=np.float32)[None]
    same = PricedTokens(loss, signal, PricedCosts((0.5, 1.0), (0.0,)), is_price=False)
    assert {same.at_price(price).savings for price in (0.1, 0.199, 0.201, 0.4)} == {0.0, 0.5}
    assert reach(same, "savings", 0.2).savings == pytest.approx(0.2, abs=0.002)


def test_a_jump_is_not_filled_where_that_would_cost_more_than_a_mixture() -> None:
    draw = np.random.default_rng(0)
    signal = np.linspace(0.2, 0.8, 1000, dtype=np.float32)
    loses = np.where(signal > 0.5, 0.3, -0.1)  # the sure ones lose by leaving, the others gain
    loss = np.vstack([1 + loses, np.ones(1000)]) + draw.normal(0, 0.01, (1, 1000))
    misleading = PricedTokens(loss, signal[None], PricedCosts((0.5, 1.0), (0.0,)), is_price=False)
    assert reach(misleading, "savings", 0.2).savings in (0.0, 0.5)


def test_what_is_saved_for_nothing_is_not_given_up_for_a_lower_target() -> None:
    loss = np.array([[1.0, 1.0, 1.0, 3.0], [2.0, 2.0, 2.0, 1.0]])
    signal = np.float32([[0.9, 0.8, 0.7, 0.1]])
    found = reach(PricedTokens(loss, signal, PricedCosts((0.5, 1.0), (0.0,)), is_price=False), "savings", 0.1)
    assert (found.price, found.savings) == (0.0, 0.375)


def test_a_target_beyond_all_thresholds_names_the_most() -> None:
    assert largest_savings(LAYERS) == pytest.approx(2 / 3)
    assert largest_savings(DEAR) == pytest.approx(0.5)
    check_target(0.66, LAYERS, "layers")
    with pytest.raises(ConfigError, match=r"at most 0.5: so much of the FLOPs .* got 0.6"):
        check_target(0.6, DEAR, "flops")


def test_where_every_price_keeps_the_budget_the_lowest_that_saves_most_is_told() -> None:
    loss = np.vstack([np.full(1000, 1.1), np.ones(1000)])
    signal = np.full((1, 1000), 0.5, np.float32)
    found = reach(PricedTokens(loss, signal, PricedCosts((0.5, 1.0), (0.0,)), is_price=False), "loss", 0.2)
    assert found.savings == 0.5
    assert 0.2 < found.price < 1  # 0.1 nats for half of the cost


@pytest.mark.parametrize("seed", range(3))
def test_a_fixed_depth_that_saves_as_much_is_taken_where_the_signal_knows_nothing(seed: int) -> None:
    blind = tokens(seed, known=0.0, count=6000)
    assert reach(blind, "savings", 0.33).shares == (0, 1, 0)
    knowing = tokens(seed, known=1.0, count=6000)
    assert max(reach(knowing, "savings", 0.33).shares) < 0.9


def test_no_fixed_depth_is_taken_that_another_beats_at_more_savings() -> None:
    draw = np.random.default_rng(0)
    loss = np.array([[3.1], [2.9], [3.0]]) + draw.normal(0, 0.1, (3, 4000))
    blind = PricedTokens(loss, draw.random((2, 4000)).astype(np.float32), LAYERS, is_price=False)
    assert reach(blind, "savings", 0.05).savings >= 0.3


@pytest.mark.parametrize("target", [0.1, 0.25, 0.4, 0.55, 0.7])
def test_early_exit_by_dear_signals_that_know_nothing_is_never_above_the_fixed_depths(target: float) -> None:
    with_head = PricedCosts((0.25, 0.5, 0.75, 1.0), (0.2, 0.2, 0.2), (0.05,) * 4)
    made_on, used = (_dear_tokens(seed, with_head) for seed in (0, 1))
    found = used.outcome(reach(made_on, "savings", target).thresholds, 0.0)
    fixed = [used.at_depth(block) for block in range(4)]
    line = static_mixture([each.savings for each in fixed], [each.loss for each in fixed], found.savings)
    assert found.loss <= line.loss + 0.003  # twice the error of a mean of 8,000 tokens


def _dear_tokens(seed: int, costs: PricedCosts) -> PricedTokens:
    """Return tokens whose loss falls with depth, by less at each, and a signal that says nothing of it."""
    draw = np.random.default_rng(seed)
    loss = np.array([[3.08], [3.02], [3.005], [3.0]]) + draw.normal(0, 0.1, (4, 8000))
    return PricedTokens(loss, draw.random((3, 8000)).astype(np.float32), costs, is_price=False)
