"""Results at other thresholds, compared with a plain loop over the tokens."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest

from core.analysis.what_if import Outcome, WhatIf
from tests.core.analysis.tables import left_at_by_hand, random_table

LAYERS = {1: (2,), 2: (2, 2), 3: (1, 2, 3)}


def made(blocks: int = 3, tokens: int = 400, seed: int = 0) -> WhatIf:
    return WhatIf(random_table(blocks, tokens, seed), LAYERS[blocks])


def by_hand(data: WhatIf, thresholds: list[float]) -> tuple[float, float, list[int]]:
    """Return mean loss, accuracy and the block that each token leaves at, token by token."""
    table, loss, right = data.table, 0.0, 0
    left = left_at_by_hand(table, thresholds)
    for token, block in enumerate(left):
        loss += float(table.cross_entropy[block][token])
        right += int(table.prediction[block][token] == table.targets[token])
    return loss / table.tokens, right / table.tokens, left


def outcome_of(data: WhatIf, *thresholds: float) -> Outcome:
    return data.setting(thresholds).outcome


@pytest.mark.parametrize(("blocks", "thresholds"), [(1, []), (2, [0.3]), (2, [0.0]), (2, [1.5]), (3, [0.6, 0.25])])
def test_what_if_equals_a_loop_over_the_tokens(blocks: int, thresholds: list[float]) -> None:
    data = made(blocks)
    loss, accuracy, left = by_hand(data, thresholds)
    outcome = data.setting(thresholds).outcome
    assert outcome.left_at.tolist() == left
    assert outcome.loss == pytest.approx(loss, rel=1e-6)
    assert outcome.ppl == pytest.approx(math.exp(loss), rel=1e-6)
    assert outcome.accuracy == accuracy
    shares = [left.count(block) / data.table.tokens for block in range(blocks)]
    assert outcome.exit_shares == tuple(shares)
    assert outcome.shallow_ratio == pytest.approx(1 - shares[-1])
    layers = [sum(data.block_layers[: block + 1]) for block in left]
    assert outcome.layer_savings == pytest.approx(1 - sum(layers) / data.table.tokens / sum(data.block_layers))


def test_figures_of_a_blocks_leavers_and_what_they_cost() -> None:
    data = made(2)
    outcome = outcome_of(data, 0.5)
    here = data.table.signal[0] >= 0.5
    leavers = outcome.blocks[0]
    assert leavers.tokens == here.sum()
    assert leavers.ppl == pytest.approx(math.exp(data.table.cross_entropy[0][here].mean()), rel=1e-5)
    assert leavers.later_ppl == pytest.approx(math.exp(data.table.cross_entropy[1][here].mean()), rel=1e-5)
    assert leavers.accuracy == data.table.correct[0][here].mean()
    assert leavers.later_accuracy == data.table.correct[1][here].mean()
    assert outcome.cost(1) == 0
    assert outcome.cost(0) == pytest.approx(outcome.loss - data.static_depths[1].loss)


def test_nobody_leaves_has_no_figures() -> None:
    leavers = outcome_of(made(2), 2.0).blocks[0]
    assert (leavers.tokens, leavers.ppl, leavers.accuracy, leavers.later_ppl) == (0, None, None, None)


def test_static_depths_and_the_oracle() -> None:
    data = made(3)
    assert [depth.loss for depth in data.static_depths] == pytest.approx(
        data.table.cross_entropy.mean(1).tolist(), rel=1e-6
    )
    assert data.oracle.loss == pytest.approx(float(data.table.cross_entropy.min(0).mean()), rel=1e-6)
    assert data.static_depths[0].layer_savings == pytest.approx(1 - 1 / 6)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.37, 1.0])
def test_the_threshold_for_a_rate_is_the_largest_that_lets_as_many_go(block: int, rate: float) -> None:
    data = made(3)
    thresholds = [0.7, 0.4]
    wanted = rate * data.arriving(block, thresholds).sum()
    thresholds[block] = data.threshold_for(block, rate, thresholds)
    assert outcome_of(data, *thresholds).blocks[block].tokens >= round(wanted)
    thresholds[block] = float(np.nextafter(np.float32(thresholds[block]), np.float32(2)))
    assert outcome_of(data, *thresholds).blocks[block].tokens <= wanted


@pytest.mark.parametrize("block", [0, 1])
def test_the_curve_goes_through_what_if(block: int) -> None:
    data = made(3, tokens=300, seed=3)
    data.table.signal[:] = np.random.default_rng(1).random(data.table.signal.shape)  # no ties
    thresholds = [0.6, 0.5]
    curve = data.curve(block, thresholds)
    assert (curve.rates[0], curve.rates[-1]) == (0, 1)
    for rate, loss in list(zip(curve.rates, curve.losses, strict=True))[::10]:
        moved = thresholds.copy()
        moved[block] = data.threshold_for(block, float(rate), thresholds)
        assert outcome_of(data, *moved).loss == pytest.approx(loss, rel=1e-6)


def test_the_histogram_counts_the_tokens_that_arrive() -> None:
    data = made(3)
    assert data.histogram(0, [0.5, 0.5], 50).sum() == data.table.tokens
    later = data.histogram(1, [0.5, 0.5], 10)
    assert later.sum() == (data.table.signal[0] < 0.5).sum()
    assert later[-1] == ((data.table.signal[0] < 0.5) & (data.table.signal[1] >= 0.9)).sum()


def test_left_too_early_are_those_that_the_last_block_had_right() -> None:
    data = made(3)
    outcome = outcome_of(data, 0.6, 0.25)
    found = data.left_too_early(outcome)
    assert found.any()
    for token in range(data.table.tokens):
        block = outcome.left_at[token]
        early = block < 2 and not data.table.correct[block][token] and data.table.correct[2][token]
        assert found[token] == early


def test_more_leave_as_the_threshold_falls() -> None:
    outcomes: list[Outcome] = [outcome_of(made(2), threshold) for threshold in (1.1, 0.8, 0.5, 0.2, 0.0)]
    assert all(a.shallow_ratio < b.shallow_ratio for a, b in pairwise(outcomes))


def test_640_000_tokens_of_two_blocks_are_worked_out_within_the_time_of_a_key() -> None:
    data = made(2, tokens=640_000)
    outcome_of(data, 0.5)
    seconds = []
    for threshold in (0.5, 0.51, 0.52, 0.53):
        began = time.perf_counter()
        outcome_of(data, threshold)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
