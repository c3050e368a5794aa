"""Exit quality against plain definitions, written out token by token."""

import time
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import costs
from core.analysis.auroc import auroc, midranks
from core.analysis.exit_quality import exit_quality, overthinking, quality, signal_reliability
from core.analysis.reliability import reliability
from core.analysis.threshold_sweep import NEVER, quantile_thresholds, sweep, threshold_grid
from core.analysis.token_table import Recorded, recorded
from core.analysis.tradeoff import TradeOff, depth_savings, possible_losses, quality_curve, static_line, trade_off
from core.config.run_config import ModelConfig
from core.store.tokens import BlockTokens


def some(blocks: int, tokens: int, seed: int = 0, levels: int = 0, seq_len: int = 4) -> Recorded:
    """Tokens whose signals know something of the loss; with few levels of the signal, so that many tie."""
    draw = np.random.default_rng(seed)
    loss = draw.gamma(2, 1, tokens) + draw.normal(0, 0.3, (blocks, tokens)) + 0.1 * np.arange(blocks)[::-1, None]
    loss = np.abs(loss).astype(np.float32)
    signal = np.exp(-loss[:-1] * draw.uniform(0.5, 1.5, (blocks - 1, tokens))).astype(np.float32)
    if levels:
        signal = np.round(signal * levels) / np.float32(levels)
    prediction = draw.integers(0, 3, (blocks, tokens), dtype=np.int32)
    targets = draw.integers(0, 3, tokens, dtype=np.int32)
    return Recorded(loss, signal, np.exp(-loss / 2), prediction, targets, seq_len)


def left_at(tokens: Recorded, thresholds: np.ndarray) -> np.ndarray:
    """Block at which each token leaves."""
    return np.array(
        [
            next((block for block in range(tokens.exits) if tokens.signal[block, i] >= thresholds[block]), tokens.exits)
            for i in range(tokens.tokens)
        ]
    )


def test_stored_arrays_become_matrices_and_a_text_may_be_longer_than_the_run() -> None:
    first = BlockTokens(0, array("f", [1, 2]), array("f", [0.5, 0.1]), array("f", [0.7, 0.2]), array("i", [3, 4]))
    last = BlockTokens(1, array("f", [1, 1]), array("f"), array("f", [0.7, 0.3]), array("i", [3, 5]))
    tokens = recorded([first, last], array("i", [3, 5, 9]), 1)
    assert (tokens.windows, tokens.exits) == (2, 1)
    assert tokens.correct.tolist() == [[True, False], [True, True]]
    assert tokens.excess(0).tolist() == [0, 1]
    assert tokens.of_windows(np.array([1])).loss.tolist() == [[2], [1]]


@pytest.mark.parametrize(("targets", "seq_len"), [([3], 1), ([3, 5], 3)])
def test_arrays_that_do_not_fit_are_refused(targets: list[int], seq_len: int) -> None:
    block = BlockTokens(0, array("f", [1, 2]), array("f"), array("f", [0.7, 0.2]), array("i", [3, 4]))
    with pytest.raises(ValueError, match="windows"):
        recorded([block], targets, seq_len)
    with pytest.raises(ValueError, match="no block"):
        recorded([], targets, 1)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half(tokens: list[tuple[int, bool]]) -> None:
    values, kinds = np.array([value for value, _ in tokens], np.float32), np.array([kind for _, kind in tokens])
    pairs = [(a > b) + (a == b) / 2 for a in values[kinds] for b in values[~kinds]]
    found = auroc(midranks(values), kinds)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_equal_width_bins_and_the_expected_calibration_error_by_hand() -> None:
    claimed = np.array([0.05, 0.15, 0.95, 1.0], np.float32)
    found = reliability(claimed, np.array([False, True, True, True]), bins=2)
    assert found.counts.tolist() == [2, 2]
    assert found.claimed == pytest.approx([0.1, 0.975])
    assert found.found.tolist() == [0.5, 1.0]
    assert found.error == pytest.approx((0.4 + 0.025) / 2)
    assert found.bias == pytest.approx((0.1 + 0.975 - 1.5) / 2)


def test_equal_mass_bins_hold_equally_many_and_split_no_tie() -> None:
    draw = np.random.default_rng(0)
    claimed = draw.random(1000).astype(np.float32) ** 4
    assert set(reliability(claimed, claimed, 10, equal_mass=True).counts.tolist()) == {100}
    tied = reliability(np.array([0.1] * 5 + [0.5] * 5, np.float32), np.ones(10), 4, equal_mass=True)
    assert tied.counts.tolist() == [5, 5]


def test_a_true_probability_has_no_calibration_error_and_a_false_one_has() -> None:
    draw = np.random.default_rng(1)
    claimed = draw.random(100_000).astype(np.float32)
    happened = draw.random(100_000) < claimed
    for equal_mass in (False, True):
        assert reliability(claimed, happened, equal_mass=equal_mass).error < 0.01
        assert reliability(claimed, happened | (claimed < 0.3), equal_mass=equal_mass).error > 0.1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0, 4]), st.integers(1, 3))
def test_a_sweep_says_for_every_unit_what_trying_each_candidate_says(
    blocks: int, seed: int, levels: int, windows: int
) -> None:
    tokens = some(blocks, 24, seed, levels)
    thresholds = threshold_grid(tokens.signal, np.linspace(0, 1, 6))
    swept = sweep(tokens, thresholds, windows * tokens.seq_len)
    used = len(swept.excess) * windows * tokens.seq_len
    for candidate, row in enumerate(thresholds):
        left = left_at(tokens, row)[:used]
        excess = tokens.loss[left, np.arange(used)].astype(float) - tokens.loss[-1, :used]
        units = left.reshape(len(swept.excess), -1)
        shares = [np.bincount(unit, minlength=blocks) / units.shape[1] for unit in units]
        assert swept.excess[:, candidate] == pytest.approx(excess.reshape(units.shape).mean(1), abs=1e-9)
        assert swept.shares[:, candidate] == pytest.approx(np.array(shares))


def test_candidates_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="no threshold may rise"):
        sweep(some(2, 8), np.array([[0.1], [0.2]]))


@pytest.mark.parametrize("rate", [0, 0.25, 0.5, 1])
def test_the_exit_rate_is_kept_among_the_tokens_that_arrive(rate: float) -> None:
    tokens = some(3, 4000)
    thresholds = np.array(quantile_thresholds(tokens.signal, rate))
    left = left_at(tokens, thresholds)
    assert (left == 0).mean() == rate
    assert (left == 1).sum() == round(rate * (left > 0).sum())
    if not rate:
        assert thresholds.tolist() == [NEVER] * 2


def test_a_rate_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_thresholds(some(2, 8).signal, 1.5)


def test_the_curve_goes_from_all_blocks_to_block_0_alone() -> None:
    tokens = some(3, 4000)
    curve = quality_curve(tokens)
    assert curve.loss[[0, -1]] == pytest.approx(tokens.mean_loss[[-1, 0]])
    assert curve.shares[[0, -1]].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert (np.diff(curve.savings((0.6, 0.3, 0))) >= 0).all()


@pytest.mark.parametrize("exited_state", ["copy", "drop", "input"])
@pytest.mark.parametrize("reads_head", [True, False])
def test_savings_by_block_add_up_to_those_of_any_exit_shares(reads_head: bool, exited_state: str) -> None:
    model = ModelConfig(block_layers=(1, 2, 3))
    savings = depth_savings(model, 1000, 32, reads_head=reads_head, exited_state=exited_state)
    shares = (0.5, 0.2, 0.3)
    full = costs.full_flops(model, 1000, 32)
    flops = costs.ExitCosts(model, 1000, 32, reads_head, exited_state).flops(shares)
    assert np.dot(shares, savings.flops) == pytest.approx(1 - flops / full)
    assert savings.layers == pytest.approx((5 / 6, 1 / 2, 0))
    assert savings.static_flops[-1] == 0
    assert all(static >= early for static, early in zip(savings.static_flops, savings.flops, strict=True))


def test_the_static_line_mixes_depths_and_takes_a_cheaper_one_that_is_better() -> None:
    at = np.array([-0.1, 0.0, 0.25, 0.5, 0.9])
    assert static_line((0.5, 0), (3, 2), at) == pytest.approx([2, 2, 2.5, 3, 3])
    assert static_line((0.5, 0), (1, 2), at) == pytest.approx([1] * 5)
    useless_middle = static_line((0.5, 0.25, 0), (3, 9, 2), at)
    assert useless_middle == pytest.approx([2, 2, 2.5, 3, 3])


def test_a_signal_without_knowledge_lies_on_the_static_line_and_one_that_knows_all_reaches_what_is_possible() -> None:
    tokens = some(2, 40_000)
    draw = np.random.default_rng(2)
    excess = tokens.excess(0)
    signals = {
        "blind": draw.random(excess.shape),
        "all": 1 - excess.argsort().argsort() / len(excess),
        "wrong": excess.argsort().argsort() / len(excess),
    }
    found = {}
    for name, signal in signals.items():
        judged = Recorded(
            tokens.loss, signal[None].astype(np.float32), tokens.max_prob, tokens.prediction, tokens.targets, 4
        )
        found[name] = trade_off(judged, quality_curve(judged), (0.5, 0), (0.5, 0))
    assert found["blind"].mean_gain == pytest.approx(0, abs=0.003)
    assert found["all"].share_of_possible == pytest.approx(1, abs=0.001)
    assert found["all"].beats[1:-1].all()
    assert not found["all"].beats[[0, -1]].any()
    assert not found["wrong"].beats.any()
    assert found["wrong"].area < 0


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_the_best_possible_exits_are_those_of_the_lowest_price_for_every_token(blocks: int) -> None:
    tokens, savings = some(blocks, 500), np.linspace(0.6, 0, blocks)
    saved, losses = possible_losses(tokens, savings.tolist())
    assert (np.diff(saved) > 0).all()
    for price in (-1, 0, 0.1, 1, 3):
        best = (tokens.loss - price * savings[:, None]).argmin(0)
        loss = tokens.loss[best, np.arange(500)].mean()
        assert np.interp(savings[best].mean(), saved, losses) == pytest.approx(loss, abs=1e-6)
    assert (saved[-1], losses[-1]) == pytest.approx((0.6, tokens.mean_loss[0]))


def test_a_curve_without_width_has_no_mean_gain() -> None:
    point = np.array([0.1])
    flat = TradeOff(point, point, point, point)
    assert (flat.area, flat.mean_gain, flat.share_of_possible) == (0, None, None)


def test_overthinking_counts_what_going_on_destroys_and_what_it_wastes() -> None:
    prediction = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 0, 0, 1, 0]], np.int32)
    loss = np.array([[1, 1, 9, 9, 1], [5, 2, 2, 9, 5], [2, 6, 4, 1, 3]], np.float32)
    tokens = Recorded(loss, loss[:2] / 10, loss / 10, prediction, np.ones(5, np.int32), 5)
    found = overthinking(tokens)
    assert found.wasteful == pytest.approx(1 / 5)
    assert found.destructive == pytest.approx(3 / 5)
    assert found.cost == pytest.approx(((6 - 1) + (4 - 2) + (3 - 1)) / 5)
    assert found.regret == pytest.approx(loss[-1].mean() - loss.min(0).mean())


def test_an_exit_is_judged_against_being_right_and_against_going_on() -> None:
    tokens = some(3, 2000)
    judged = exit_quality(tokens, 0, "p(target)")
    assert judged.next_no_better.share == pytest.approx((tokens.loss[1] >= tokens.loss[0]).mean())
    assert judged.last_no_better.auroc == pytest.approx(
        auroc(midranks(tokens.signal[0]), tokens.loss[2] >= tokens.loss[0])
    )
    assert judged.histogram.sum() == 2000
    assert judged.signal is not None
    assert judged.signal.error == pytest.approx(reliability(tokens.signal[0], np.exp(-tokens.loss[0])).error)


def test_a_claimed_gain_is_held_against_the_realised_one_by_decile() -> None:
    tokens = some(3, 2000)
    gain = tokens.loss[0] - tokens.loss[1]
    judged = exit_quality(tokens, 0, "gain", lambda signal: 3 * (0.5 - signal))
    assert judged.signal is not None
    order = np.argsort(-tokens.signal[0], kind="stable").reshape(10, 200)
    assert judged.signal.counts.tolist() == [200] * 10
    assert judged.signal.claimed == pytest.approx(3 * (0.5 - tokens.signal[0][order].mean(1)), abs=1e-5)
    assert judged.signal.found == pytest.approx(gain[order].mean(1), abs=1e-5)
    assert judged.correct.auroc == exit_quality(tokens, 0, "correct").correct.auroc


def test_a_true_claim_of_gain_has_no_error_and_one_that_is_off_has_its_distance() -> None:
    tokens = some(2, 20_000)
    exact = exit_quality(tokens, 0, "gain", lambda signal: tokens.loss[0] - tokens.loss[1]).signal
    shifted = exit_quality(tokens, 0, "gain", lambda signal: tokens.loss[0] - tokens.loss[1] + 0.25).signal
    assert exact is not None
    assert shifted is not None
    assert exact.error == pytest.approx(0, abs=1e-6)
    assert shifted.error == pytest.approx(0.25, abs=1e-6)
    assert shifted.bias == pytest.approx(0.25, abs=1e-6)


def test_a_signal_that_claims_an_order_only_is_ranked_and_not_calibrated() -> None:
    tokens = some(3, 2000)
    judged = exit_quality(tokens, 0, "rank")
    assert judged.signal is None
    assert judged.correct == exit_quality(tokens, 0, "correct").correct
    assert signal_reliability(tokens, 0, "rank", equal_mass=True) is None


def test_a_run_is_judged_with_its_own_thresholds() -> None:
    tokens = some(2, 2000)
    model = ModelConfig(block_layers=(2, 2))
    savings = depth_savings(model, 100, 4, reads_head=True)
    judged = quality(tokens, savings, thresholds=(0.3,))
    assert judged.as_run is not None
    assert judged.as_run[0] == (tokens.signal[0] >= np.float32(0.3)).mean()
    assert judged.flops.savings[0] < 0  # reading the head twice and never leaving
    assert len(judged.exits) == 1


def test_a_model_of_one_block_has_no_exits_and_nothing_to_overthink() -> None:
    tokens = some(1, 80)
    judged = quality(tokens, depth_savings(ModelConfig(block_layers=(2,)), 100, 4, reads_head=False))
    assert judged.exits == ()
    assert judged.overthinking.destructive == 0
    assert judged.layers.area == 0
    assert judged.layers.mean_gain is None


def test_many_tokens_take_no_time() -> None:
    tokens = some(2, 640_000)
    savings = depth_savings(ModelConfig(), 4096, 32, reads_head=False)
    began = time.process_time()
    quality(tokens, savings)
    assert time.process_time() - began < 3  # 0.5 s where nothing else runs
