"""What-if figures against a plain loop over the tokens."""

import math
import time
from array import array
from itertools import pairwise

import numpy as np
import pytest

from core.analysis.what_if import Inspection, Outcome, inspection, own_thresholds
from core.events import RunStarted, StageStarted, Threshold
from core.protocol.order import block_stage
from core.state import RunState, reduce
from core.store.tokens import BlockTokens, EvaluationText

LAYERS = {1: (2,), 2: (2, 2), 3: (1, 2, 3)}


def made(blocks: int = 3, tokens: int = 400, seed: int = 0) -> Inspection:
    draw = np.random.default_rng(seed)
    signal = (draw.integers(0, 40, (blocks - 1, tokens)) / 40).astype(np.float32)  # with ties
    return Inspection(
        loss=draw.gamma(2, 2, (blocks, tokens)).astype(np.float32),
        signal=signal,
        max_prob=draw.random((blocks, tokens), dtype=np.float32),
        prediction=draw.integers(0, 3, (blocks, tokens)).astype(np.int32),
        inputs=draw.integers(0, 3, tokens).astype(np.int32),
        targets=draw.integers(0, 3, tokens).astype(np.int32),
        block_layers=LAYERS[blocks],
        seq_len=8,
    )


def by_hand(data: Inspection, thresholds: list[float]) -> tuple[float, float, list[int]]:
    """Mean loss, accuracy and where each token leaves, token by token."""
    left, loss, right = [], 0.0, 0
    for token in range(data.tokens):
        block = 0
        while block < data.exits and data.signal[block][token] < thresholds[block]:
            block += 1
        left.append(block)
        loss += float(data.loss[block][token])
        right += int(data.prediction[block][token] == data.targets[token])
    return loss / data.tokens, right / data.tokens, left


@pytest.mark.parametrize(("blocks", "thresholds"), [(1, []), (2, [0.3]), (2, [0.0]), (2, [1.5]), (3, [0.6, 0.25])])
def test_what_if_equals_a_loop_over_the_tokens(blocks: int, thresholds: list[float]) -> None:
    data = made(blocks)
    loss, accuracy, left = by_hand(data, thresholds)
    outcome = data.what_if(thresholds)
    assert outcome.left_at.tolist() == left
    assert outcome.loss == pytest.approx(loss, rel=1e-6)
    assert outcome.ppl == pytest.approx(math.exp(loss), rel=1e-6)
    assert outcome.accuracy == accuracy
    shares = [left.count(block) / data.tokens for block in range(blocks)]
    assert outcome.exit_shares == tuple(shares)
    assert outcome.shallow_ratio == pytest.approx(1 - shares[-1])
    layers = [sum(data.block_layers[: block + 1]) for block in left]
    assert outcome.layer_savings == pytest.approx(1 - sum(layers) / data.tokens / sum(data.block_layers))


def test_figures_of_a_blocks_leavers_and_what_they_cost() -> None:
    data = made(2)
    outcome = data.what_if([0.5])
    here = data.signal[0] >= 0.5
    leavers = outcome.blocks[0]
    assert leavers.tokens == here.sum()
    assert leavers.ppl == pytest.approx(math.exp(data.loss[0][here].mean()), rel=1e-5)
    assert leavers.later_ppl == pytest.approx(math.exp(data.loss[1][here].mean()), rel=1e-5)
    assert leavers.accuracy == data.correct[0][here].mean()
    assert leavers.later_accuracy == data.correct[1][here].mean()
    assert outcome.cost(1) == 0
    assert outcome.cost(0) == pytest.approx(outcome.loss - data.static_depths[1].loss)


def test_nobody_leaves_has_no_figures() -> None:
    leavers = made(2).what_if([2.0]).blocks[0]
    assert (leavers.tokens, leavers.ppl, leavers.accuracy, leavers.later_ppl) == (0, None, None, None)


def test_static_depths_and_the_oracle() -> None:
    data = made(3)
    assert [depth.loss for depth in data.static_depths] == pytest.approx(data.loss.mean(1).tolist(), rel=1e-6)
    assert data.oracle.loss == pytest.approx(float(data.loss.min(0).mean()), rel=1e-6)
    assert data.static_depths[0].layer_savings == pytest.approx(1 - 1 / 6)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.37, 1.0])
def test_the_threshold_for_a_rate_is_the_largest_that_lets_as_many_go(block: int, rate: float) -> None:
    data = made(3)
    thresholds = [0.7, 0.4]
    wanted = rate * data.arriving(block, thresholds).sum()
    thresholds[block] = data.threshold_for(block, rate, thresholds)
    assert data.what_if(thresholds).blocks[block].tokens >= round(wanted)
    thresholds[block] = float(np.nextafter(np.float32(thresholds[block]), np.float32(2)))
    assert data.what_if(thresholds).blocks[block].tokens <= wanted


@pytest.mark.parametrize("block", [0, 1])
def test_the_curve_goes_through_what_if(block: int) -> None:
    data = made(3, tokens=300, seed=3)
    data.signal[:] = np.random.default_rng(1).random(data.signal.shape)  # no ties
    thresholds = [0.6, 0.5]
    curve = data.curve(block, thresholds)
    assert (curve.rates[0], curve.rates[-1]) == (0, 1)
    for rate, loss in list(zip(curve.rates, curve.losses, strict=True))[::10]:
        moved = thresholds.copy()
        moved[block] = data.threshold_for(block, float(rate), thresholds)
        assert data.what_if(moved).loss == pytest.approx(loss, rel=1e-6)


def test_the_histogram_counts_the_tokens_that_arrive() -> None:
    data = made(3)
    assert data.histogram(0, [0.5, 0.5], 50).sum() == data.tokens
    later = data.histogram(1, [0.5, 0.5], 10)
    assert later.sum() == (data.signal[0] < 0.5).sum()
    assert later[-1] == ((data.signal[0] < 0.5) & (data.signal[1] >= 0.9)).sum()


def test_left_too_early_are_those_that_the_last_block_had_right() -> None:
    data = made(3)
    outcome = data.what_if([0.6, 0.25])
    found = data.left_too_early(outcome)
    assert found.any()
    for token in range(data.tokens):
        block = outcome.left_at[token]
        early = block < 2 and not data.correct[block][token] and data.correct[2][token]
        assert found[token] == early


def test_more_leave_as_the_threshold_falls() -> None:
    outcomes: list[Outcome] = [made(2).what_if([threshold]) for threshold in (1.1, 0.8, 0.5, 0.2, 0.0)]
    assert all(a.shallow_ratio < b.shallow_ratio for a, b in pairwise(outcomes))


def test_what_the_store_keeps_becomes_matrices_and_a_run_may_have_seen_a_prefix_only() -> None:
    first = BlockTokens(
        0, array("f", [1, 2, 3]), array("f", [0.1, 0.2, 0.3]), array("f", [0.5] * 3), array("i", [7, 8, 8])
    )
    last = BlockTokens(1, array("f", [1, 1, 1]), array("f"), array("f", [0.5] * 3), array("i", [1, 2, 8]))
    text = EvaluationText(1, ["a"] * 9, array("i", [5, 7, 6, 8, 4, 4]))
    data = inspection([first, last], text, [2, 2])
    assert data.inputs.tolist() == [5, 7, 6]
    assert data.targets.tolist() == [7, 6, 8]
    assert data.correct.tolist() == [[True, False, True], [False, False, True]]
    assert data.what_if([0.25]).left_at.tolist() == [1, 1, 0]


def test_own_thresholds_are_those_of_the_hard_token_stages() -> None:
    state = reduce(RunState(), RunStarted((block_stage(0, "hard"),), 1, 1, 1, (1, 1), 1))
    assert own_thresholds(state, 1) is None
    for event in (StageStarted("block0.hard", "hard tokens", 0, 1, 1, 1), Threshold("block0.hard", 0, 0.25, 1, 1, ())):
        state = reduce(state, event)
    assert own_thresholds(state, 1) == (0.25,)
    assert own_thresholds(state, 2) is None


def test_640_000_tokens_of_two_blocks_are_worked_out_within_the_time_of_a_key() -> None:
    data = made(2, tokens=640_000)
    data.what_if([0.5])
    seconds = []
    for threshold in (0.5, 0.51, 0.52, 0.53):
        began = time.perf_counter()
        data.what_if([threshold])
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
