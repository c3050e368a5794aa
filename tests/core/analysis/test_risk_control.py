"""The promises, kept on texts whose true risk is known, and broken there by rules without a promise."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from core.analysis.risk_control import (
    ConformalRiskControl,
    LearnThenTest,
    Rule,
    cap_for_bets,
    cap_for_mean,
    expected_violations,
    fewest_units,
    halves,
    largest_excess,
    neighbour_correlation,
    pieces,
    split_units,
    stakes,
    violation_rate,
)
from core.analysis.threshold_sweep import Sweep, sweep, threshold_grid
from core.analysis.token_table import TokenTable
from tests.core.analysis.tables import bare_table

BUDGET, DELTA, LARGEST = 0.01, 0.1, np.full(50, 0.3)
TRIALS = 400
DRIFT = 0.05 * np.linspace(0.02, 1, 50) ** 2
"""True risk of each of 50 candidates, nats; the budget lies between two of them."""


def units_of(count: int, draw: np.random.Generator, drift: np.ndarray = DRIFT) -> np.ndarray:
    """Draw the excess of units, `[U, J]`: noise that grows with the exits and correlates between candidates."""
    steps = draw.exponential(1, (count, len(drift))) - 1
    noise = np.cumsum(steps, axis=1) * 0.06 / math.sqrt(len(drift))
    return drift + noise


@dataclass(frozen=True)
class PlugIn:
    """Rule without a promise: the most exits at which the calibration units' own mean is within the budget."""

    budget: float

    def evidence(self, excess: np.ndarray) -> np.ndarray:
        return excess

    def choose(self, evidence: np.ndarray, units: int) -> int | None:
        safe = np.flatnonzero(evidence / units <= self.budget)
        return int(safe[-1]) if safe.size else None


class NotMade(ConformalRiskControl):
    """Conformal risk control whose risks are not made monotone."""

    def evidence(self, excess: np.ndarray) -> np.ndarray:
        return np.minimum(excess, self.largest)

    def choose(self, evidence: np.ndarray, units: int) -> int | None:
        safe = np.flatnonzero((evidence + self.largest) / (units + 1) <= self.budget)
        return int(safe[-1]) if safe.size else None


def learn_then_test(units: int, draw: np.random.Generator, budget: float = BUDGET) -> LearnThenTest:
    return LearnThenTest(budget, LARGEST, DELTA, stakes(units_of(50, draw), budget, LARGEST, DELTA, units))


def true_risks(rule: Rule, units: int, draw: np.random.Generator, drift: np.ndarray = DRIFT) -> np.ndarray:
    """Return the true risks of a rule's choices, over many draws of units; 0 where it chooses nothing."""
    chosen = [rule.choose(rule.evidence(units_of(units, draw, drift)).sum(0), units) for _ in range(TRIALS)]
    return np.array([0.0 if candidate is None else drift[candidate] for candidate in chosen])


def at_most(rate: float) -> float:
    """Return the largest rate over the trials that is within three standard errors of the true one."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / TRIALS)


@pytest.mark.parametrize("units", [100, 400, 1600])
def test_learn_then_test_breaks_its_promise_no_more_often_than_it_says(units: int) -> None:
    draw = np.random.default_rng(units)
    risks = true_risks(learn_then_test(units, draw), units, draw)
    assert (risks > BUDGET).mean() <= at_most(DELTA)


def test_learn_then_test_uses_most_of_the_budget_where_there_are_many_units() -> None:
    draw = np.random.default_rng(5)
    risks = true_risks(learn_then_test(1600, draw), 1600, draw)
    assert risks.mean() > 0.75 * BUDGET


def test_a_threshold_that_only_looks_safe_breaks_the_promise_every_other_time() -> None:
    draw = np.random.default_rng(6)
    risks = true_risks(PlugIn(BUDGET), 400, draw)
    assert (risks > BUDGET).mean() > at_most(2.5 * DELTA)


@pytest.mark.parametrize("units", [100, 400, 1600])
def test_conformal_risk_control_keeps_the_mean_risk_within_the_budget(units: int) -> None:
    draw = np.random.default_rng(units)
    risks = true_risks(ConformalRiskControl(BUDGET, LARGEST), units, draw)
    assert risks.mean() <= BUDGET


def test_conformal_risk_control_needs_risks_that_never_fall() -> None:
    """With independent noise and one true risk above the budget, the luckiest candidate is not safe."""
    draw = np.random.default_rng(7)
    means = {}
    for rule in (NotMade(BUDGET, LARGEST), ConformalRiskControl(BUDGET, LARGEST)):
        risks = []
        for _ in range(TRIALS):
            excess = 0.015 + draw.uniform(-0.2, 0.2, (200, 50))
            risks.append(0.0 if rule.choose(rule.evidence(excess).sum(0), 200) is None else 0.015)
        means[type(rule)] = np.mean(risks)
    assert means[NotMade] > 1.2 * BUDGET
    assert means[ConformalRiskControl] <= BUDGET


def test_a_p_value_is_small_no_more_often_than_it_says_where_the_risk_is_just_above_the_budget() -> None:
    draw = np.random.default_rng(8)
    units = 300
    rule = LearnThenTest(BUDGET, LARGEST, DELTA, stakes(units_of(50, draw), BUDGET, LARGEST, DELTA, units))
    flat = np.full(50, BUDGET)
    found = np.array([rule.p_values(rule.evidence(units_of(units, draw, flat)).sum(0)) for _ in range(TRIALS)])
    for level in (0.5, 0.1, 0.02):
        assert (found <= level).mean(0).max() <= at_most(level) + 0.01  # the largest of 50


def test_without_enough_units_nothing_is_safe_and_with_them_no_excess_is() -> None:
    largest = np.full(3, 0.3)
    needed = fewest_units(BUDGET, 0.3, DELTA)
    assert needed is not None
    none = np.zeros((needed, 3))
    rule = LearnThenTest(BUDGET, largest, DELTA, stakes(none, BUDGET, largest, DELTA, needed))
    assert rule.choose(rule.evidence(none).sum(0), needed) == 2
    assert rule.choose(rule.evidence(none[1:]).sum(0), needed - 1) is None
    assert fewest_units(0.0, 0.3, DELTA) is None


def test_testing_stops_at_the_first_candidate_that_is_not_refuted() -> None:
    rule = LearnThenTest(BUDGET, LARGEST[:4], DELTA, np.ones(4))
    sure, unsure = -math.log(DELTA) + 1e-9, 0.0
    assert rule.choose(np.array([sure, sure, unsure, sure]), 1) == 1
    assert rule.choose(np.array([unsure, sure, sure, sure]), 1) is None


def test_conformal_risk_control_adds_one_unit_of_the_worst_kind() -> None:
    rule = ConformalRiskControl(0.1, np.full(4, 0.5))
    excess = np.array([[-1.0, 0.1, 0.0, 9.0]] * 9)
    assert rule.evidence(excess)[0].tolist() == [0, 0.1, 0.1, 0.5]
    assert rule.choose(np.array([0.0, 0.5, 0.5, 4.5]), 9) == 2
    assert rule.choose(np.full(4, 0.6), 9) is None


def test_a_bound_that_leaves_nothing_to_lose_is_refused() -> None:
    with pytest.raises(ValueError, match="above the budget"):
        stakes(np.zeros((3, 2)), 0.1, np.full(2, 0.1), DELTA, 10)


def test_the_bound_on_an_excess_is_twice_what_was_seen_and_never_falls() -> None:
    aside = np.array([[0.001, 0.2, -0.1], [0.0, 0.1, 0.0]])
    assert largest_excess(aside, BUDGET).tolist() == [0.02, 0.4, 0.4]
    assert largest_excess(np.array([[-0.2]]), 0.0) > 0


def test_units_are_split_without_overlap_and_the_same_every_time() -> None:
    split = split_units(101, seed=3)
    parts = (split.aside, split.calibration, split.test)
    assert [len(part) for part in parts] == [20, 40, 41]
    assert sorted(np.concatenate(parts).tolist()) == list(range(101))
    assert split_units(101, seed=3).test.tolist() == split.test.tolist()
    assert split_units(101, seed=4).test.tolist() != split.test.tolist()
    with pytest.raises(ValueError, match="at least 3"):
        split_units(2, 0)


@pytest.mark.parametrize(("units", "aside"), [(3, 1), (40, 10), (100, 20), (2000, 200)])
def test_a_tenth_is_set_aside_or_20_where_that_is_not_too_many(units: int, aside: int) -> None:
    assert len(split_units(units, 0).aside) == aside


def test_neighbours_that_are_alike_are_seen_to_be() -> None:
    draw = np.random.default_rng(12)
    assert neighbour_correlation(draw.normal(0, 1, 4000)) == pytest.approx(0, abs=0.05)
    assert neighbour_correlation(np.repeat(draw.normal(0, 1, 1000), 4)) == pytest.approx(0.75, abs=0.05)
    assert neighbour_correlation(np.zeros(4)) == 0


def test_every_resplit_has_half_of_the_units() -> None:
    found = halves(7, 50, seed=1)
    assert set(found.sum(1).tolist()) == {3}
    assert len({tuple(row) for row in found.tolist()}) > 20


def test_resplits_find_a_rule_without_a_promise_out_and_bear_learn_then_test_out() -> None:
    draw = np.random.default_rng(9)
    count = 800
    excess = units_of(count, draw)
    excess += DRIFT - excess.mean(0)  # the text's own risks are the true ones
    rate = np.linspace(0.02, 1, 50)
    shares = np.broadcast_to(np.stack([rate, 1 - rate], axis=1), (count, 50, 2))
    units = Sweep(np.empty((50, 1)), excess, shares)
    calibrating = halves(count, 200, seed=0)
    kept = violation_rate(learn_then_test(count // 2, draw), units, BUDGET, calibrating)
    broken = violation_rate(PlugIn(BUDGET), units, BUDGET, calibrating)
    assert kept.rate <= at_most(expected_violations(DELTA, count // 2, count // 2))
    assert broken.rate > 0.35
    assert kept.never == 0
    assert 0 < kept.mean_excess < broken.mean_excess
    assert kept.shares[0] < broken.shares[0]


def test_pieces_are_halves_in_one_piece_that_begin_everywhere() -> None:
    found = pieces(6, 3)
    assert found.tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 1, 1]]


def test_a_text_whose_parts_differ_breaks_the_promise_in_pieces_and_keeps_it_in_random_halves() -> None:
    draw = np.random.default_rng(13)
    count = 800
    swing = 0.02 * np.sin(2 * np.pi * np.arange(count) / count)[:, None] * np.linspace(0.02, 1, 50)
    units = Sweep(np.empty((50, 1)), units_of(count, draw) + swing, np.full((count, 50, 2), 0.5))
    rule = learn_then_test(count // 2, draw)
    assert violation_rate(rule, units, BUDGET, halves(count, 100, seed=0)).rate < 0.2
    assert violation_rate(rule, units, BUDGET, pieces(count, 100)).rate > 0.3


def test_where_nothing_is_ever_safe_nothing_exits_and_nothing_is_violated() -> None:
    excess = np.full((40, 3), 0.5)
    units = Sweep(np.empty((3, 1)), excess, np.full((40, 3, 2), 0.5))
    found = violation_rate(ConformalRiskControl(BUDGET, np.ones(3)), units, BUDGET, halves(40, 20, seed=0))
    assert (found.rate, found.never, found.mean_excess, found.shares) == (0, 1, 0, (0, 1))


def test_a_test_half_of_its_own_noise_is_above_an_exact_bound_more_often_than_delta() -> None:
    draw = np.random.default_rng(10)
    calibration, test = draw.normal(0, 1, (2, 100_000))
    seen = (test > calibration + 1.2815515655446004).mean()
    assert expected_violations(0.1, 500, 500) == pytest.approx(seen, abs=0.005)
    assert expected_violations(0.1, 500, 10**9) == pytest.approx(0.1, abs=1e-4)


def tokens_of(windows: int, draw: np.random.Generator, seq_len: int = 16) -> TokenTable:
    """Draw tokens that lose `0.2 · (0.5 − signal)` nats on average by exiting, with a signal uniform over [0, 1]."""
    count = windows * seq_len
    signal = draw.random((1, count)).astype(np.float32)
    lost = 0.2 * (0.5 - signal[0]) + draw.normal(0, 0.2, count)
    loss = np.stack([3 + lost, np.full(count, 3.0)]).astype(np.float32)
    return bare_table(loss, signal, seq_len)


def true_excess(threshold: float) -> float:
    """Return the true excess of `tokens_of`: the integral of `0.2 · (0.5 − signal)` over the signals that exit."""
    return 0.1 * (threshold**2 - threshold)


@pytest.mark.parametrize("budget", [0.0, -0.02])
def test_from_tokens_to_a_threshold_the_promise_holds(budget: float) -> None:
    """The first exits lower the loss, and all of them together change nothing.

    Few exits, from which testing starts, never meet a budget below 0, so nothing is chosen.
    """
    draw = np.random.default_rng(11)
    grid = threshold_grid(tokens_of(40, draw).signal, np.arange(1, 101) / 100)
    aside = sweep(tokens_of(40, draw), grid, 16).excess
    broken, exits = 0, []
    for _ in range(100):
        excess = sweep(tokens_of(300, draw), grid, 16).excess
        largest = largest_excess(aside, budget)
        rule = LearnThenTest(budget, largest, DELTA, stakes(aside, budget, largest, DELTA, 300))
        chosen = rule.choose(rule.evidence(excess).sum(0), 300)
        exits.append(chosen)
        broken += chosen is not None and true_excess(grid[chosen, 0]) > budget
    assert broken <= 100 * DELTA + 3 * math.sqrt(100 * DELTA * (1 - DELTA))
    assert any(chosen is not None and chosen > 50 for chosen in exits) == (budget == 0)
    assert budget == 0 or set(exits) == {None}


HEAVY, SHARE = 3.0, 0.004
"""Excess of a heavy unit in nats, and the share of the units that are heavy."""


@pytest.mark.parametrize("units", [150, 600])
def test_what_is_promised_holds_with_a_few_heavy_units_that_none_set_aside_shows(units: int) -> None:
    """The mean of the capped excess is promised; the cap is as high as costs little, so that it leaves out little."""
    draw, broken, caps = np.random.default_rng(units), 0, []
    means = DRIFT[::5]
    weights = np.linspace(0.1, 1, len(means))  # the more exits, the heavier

    def excess(count: int) -> np.ndarray:
        heavy = draw.random((count, 1)) < SHARE
        return means + 0.05 * draw.standard_normal((count, 1)) * weights + heavy * HEAVY * weights

    for _ in range(TRIALS):
        aside = excess(20)
        cap = cap_for_bets(aside, BUDGET, DELTA, units)
        rule = LearnThenTest(BUDGET, cap, DELTA, stakes(aside, BUDGET, cap, DELTA, units))
        chosen = rule.choose(rule.evidence(excess(units)).sum(axis=0), units)
        if chosen is not None:
            counted = min(HEAVY * weights[chosen] + means[chosen], cap[chosen])
            broken += (1 - SHARE) * means[chosen] + SHARE * counted > BUDGET
        caps.append(cap[-1] / largest_excess(aside, BUDGET)[-1])
    assert broken / TRIALS <= DELTA + 0.03
    assert np.median(caps) > math.sqrt(units / 150)


def test_a_cap_costs_a_tenth_of_the_evidence_at_most() -> None:
    aside, units = 0.05 * np.random.default_rng(0).standard_normal((40, 1)), 600
    capped = cap_for_bets(aside, BUDGET, DELTA, units)
    best = math.sqrt(2 * math.log(1 / DELTA) / (units * np.minimum(aside, largest_excess(aside, BUDGET)).var()))
    share = float(stakes(aside, BUDGET, capped, DELTA, units)[0]) / best
    assert 2 * share - share**2 == pytest.approx(0.9, abs=0.01)
    assert capped[0] > largest_excess(aside, BUDGET)[0]
    assert cap_for_mean(np.full((20, 1), 0.001), BUDGET, 499).tolist() == [pytest.approx(0.1 * BUDGET * 500)]
