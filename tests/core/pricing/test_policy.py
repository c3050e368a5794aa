"""Exits at a price, against all thresholds tried by hand."""

import itertools

import numpy as np
import pytest

from core.costs import PricedCosts
from core.formulas import price_signal, signal_price
from core.pricing.policy import PricedTokens
from core.pricing.thresholds import NEVER, exit_rates, quantile_thresholds

LAYERS = PricedCosts(leaving=(1 / 3, 2 / 3, 1.0), arriving=(0.0, 0.0))
DEAR = PricedCosts(leaving=(0.3, 0.6, 1.2), arriving=(0.2, 0.2))


def tokens(seed: int, costs: PricedCosts = LAYERS, known: float = 1.0, count: int = 400) -> PricedTokens:
    """Tokens whose loss falls with depth, and whose signals know that much of what going on would save."""
    draw = np.random.default_rng(seed)
    loss = np.cumsum([draw.normal(5, 1, count), *draw.normal(-0.1, 0.4, (2, count))], axis=0)
    gain = known * (loss[:-1] - loss[-1]) + draw.normal(0, 0.3, (2, count))
    return PricedTokens(loss, np.float32(1 / (1 + np.exp(gain))), costs, is_price=False)


def objective(found: PricedTokens, thresholds: tuple[float, ...], price: float) -> float:
    outcome = found.outcome(thresholds, price)
    return outcome.loss + price * (1 - outcome.savings)


@pytest.mark.parametrize("costs", [LAYERS, DEAR], ids=["layers", "with fees"])
@pytest.mark.parametrize("price", [0.0, 0.1, 0.5, 2.0])
def test_no_single_threshold_moved_alone_does_better_at_the_last_exit(price: float, costs: PricedCosts) -> None:
    found = tokens(0, costs)
    thresholds = found.thresholds_at(price)
    first_off = (NEVER, thresholds[1])
    tried = [(NEVER, float(value)) for value in (*np.unique(found.signal[1]), NEVER)]
    assert objective(found, first_off, price) <= min(objective(found, each, price) for each in tried) + 1e-9


@pytest.mark.parametrize("price", [0.05, 0.3])
def test_thresholds_set_backwards_come_close_to_the_best_of_all_pairs(price: float) -> None:
    found = tokens(1)
    grid = [[*np.quantile(signal, np.linspace(0, 1, 25)).tolist(), NEVER] for signal in found.signal]
    best = min(objective(found, pair, price) for pair in itertools.product(*grid))
    assert objective(found, found.thresholds_at(price), price) <= best + 0.005


@pytest.mark.parametrize("price", [0.0, 0.02, 0.2, 1.0, 50.0])
@pytest.mark.parametrize("signal", ["constant", "random"])
def test_a_signal_that_knows_nothing_gives_the_best_fixed_depth(signal: str, price: float) -> None:
    found = tokens(2, known=0.0, count=4000)
    values = np.full_like(found.signal, 0.5) if signal == "constant" else found.signal
    blind = PricedTokens(found.loss, values, LAYERS, is_price=False)
    best = min(float(blind.loss[depth].mean()) + price * LAYERS.leaving[depth] for depth in range(3))
    assert objective(blind, blind.thresholds_at(price), price) == pytest.approx(best, abs=0.004)
    if signal == "constant":
        assert max(blind.at_price(price).shares) == 1


def test_an_exit_whose_signal_costs_more_than_it_saves_is_off_and_then_free() -> None:
    free, dear = tokens(3), tokens(3, PricedCosts(LAYERS.leaving, (5.0, 5.0)))
    assert min(free.thresholds_at(0.2)) < NEVER
    assert dear.thresholds_at(0.2) == (NEVER, NEVER)
    assert dear.at_price(0.2).savings == 0


@pytest.mark.parametrize("is_price", [True, False])
def test_all_may_leave_at_an_exit_where_that_spares_keys_and_values(*, is_price: bool) -> None:
    costs = PricedCosts((0.4, 0.7, 1.0), (0.0, 0.0), (0.1, 0.1, 0.1))
    loss = np.array([[1.2] * 50, [1.0] * 50, [0.9] * 25 + [1.02] * 25])
    signal = np.full((2, 50), price_signal(0.9), np.float32)
    signal[1, 25:] = price_signal(0.1)  # half save by leaving at the last exit: 0.02 nats and their depth
    some = PricedTokens(loss, signal, costs, is_price)
    assert some.at_price(0.15).shares == (0, 0.5, 0.5)
    # going on saves half of the tokens 0.1 nats for 0.3 of the cost, but the others pay 0.1 for keys and values then
    assert some.thresholds_at(0.25) == (NEVER, 0.0)
    assert some.at_price(0.25).savings == pytest.approx(1 - 0.6)


def test_tokens_that_tie_leave_together() -> None:
    loss = np.array([[0.0, 9.0, 0.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    costs = PricedCosts((0.5, 1.0), (0.0,))
    apart = PricedTokens(loss, np.float32([[0.9, 0.1, 0.8, 0.2]]), costs, is_price=False)
    tied = PricedTokens(loss, np.float32([[0.9, 0.9, 0.1, 0.1]]), costs, is_price=False)
    assert apart.at_price(0.1).shares == (0.5, 0.5)
    assert tied.thresholds_at(0.1) == (NEVER,)


def test_a_signal_that_is_a_price_has_one_threshold_and_exits_that_none_leaves_are_off() -> None:
    signal = np.float32([price_signal(np.array([0.5, 2.0])), price_signal(np.array([0.1, 0.7]))])
    found = PricedTokens(np.ones((3, 2)), signal, LAYERS, is_price=True)
    assert found.thresholds_at(0.2) == (NEVER, float(np.float32(price_signal(0.2))))
    assert found.at_price(0.2).shares == (0.0, 0.5, 0.5)
    assert found.at_price(1.0).shares == (0.5, 0.5, 0.0)


def test_an_exit_of_a_price_is_off_where_its_signal_costs_more_than_the_few_that_leave_save() -> None:
    signal = np.float32([price_signal(np.array([0.1, *[2.0] * 99])), price_signal(np.full(100, 0.1))])
    cheap = PricedTokens(np.ones((3, 100)), signal, PricedCosts((1 / 3, 2 / 3, 1.0), (0.001, 0.001)), is_price=True)
    dear = PricedTokens(np.ones((3, 100)), signal, PricedCosts((1 / 3, 2 / 3, 1.0), (0.01, 0.001)), is_price=True)
    assert max(cheap.thresholds_at(0.2)) < NEVER
    assert dear.thresholds_at(0.2)[0] == NEVER
    assert dear.at_price(0.2).shares == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("price", [-40.0, -0.3, 0.0, 1e-5, 0.05, 7.0, 900.0])
def test_prices_and_signals_map_to_each_other(price: float) -> None:
    signal = price_signal(price)
    assert 0 < signal < 1
    assert signal_price(signal) == pytest.approx(price, rel=1e-9, abs=1e-12)
    assert price_signal(price + 1e-3 * (1 + abs(price))) < signal


def test_rates_of_thresholds_give_the_thresholds_back() -> None:
    signal = tokens(4).signal
    thresholds = quantile_thresholds(signal, (0.3, 0.6))
    assert exit_rates(signal, thresholds) == pytest.approx((0.3, 0.6), abs=0.005)
    assert quantile_thresholds(signal, exit_rates(signal, thresholds)) == thresholds
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_thresholds(signal, (0.3, 1.6))
