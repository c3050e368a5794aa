"""Exit quality against plain definitions."""

import numpy as np
import pytest

from core.analysis.auroc import auroc, midranks
from core.analysis.exit_quality import Meaning, exit_quality, overthinking, quality, signal_reliability
from core.analysis.reliability import reliability
from core.analysis.token_table import TokenTable
from core.analysis.tradeoff import depth_savings
from core.config.run_config import ModelConfig
from core.costs import ExitCosts, PricedCosts
from tests.core.analysis.tables import knowing_table


def test_overthinking_counts_what_going_on_destroys_and_what_it_wastes() -> None:
    prediction = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 0, 0, 1, 0]], np.int32)
    loss = np.array([[1, 1, 9, 9, 1], [5, 2, 2, 9, 5], [2, 6, 4, 1, 3]], np.float32)
    words = np.ones(5, np.int32)
    tokens = TokenTable(loss, loss[:2] / 10, loss / 10, prediction, words, words, 5)
    found = overthinking(tokens)
    assert found.wasteful == pytest.approx(1 / 5)
    assert found.destructive == pytest.approx(3 / 5)
    assert found.cost == pytest.approx(((6 - 1) + (4 - 2) + (3 - 1)) / 5)
    assert found.regret == pytest.approx(loss[-1].mean() - loss.min(0).mean())


def paid(blocks: int) -> tuple[PricedCosts, PricedCosts]:
    """Return what a price is paid for, in layers and in FLOPs, made up."""
    leaving = tuple((block + 1) / blocks for block in range(blocks))
    return PricedCosts(leaving, (0.0,) * (blocks - 1)), PricedCosts(leaving, (0.1,) * (blocks - 1))


def test_an_exit_is_judged_against_being_right_and_against_going_on() -> None:
    tokens = knowing_table(3, 2000)
    judged = exit_quality(tokens, 0, Meaning("p(target)"))
    assert judged.next_no_better.share == pytest.approx((tokens.cross_entropy[1] >= tokens.cross_entropy[0]).mean())
    assert judged.last_no_better.auroc == pytest.approx(
        auroc(midranks(tokens.signal[0]), tokens.cross_entropy[2] >= tokens.cross_entropy[0])
    )
    assert judged.histogram.sum() == 2000
    assert judged.signal.error == pytest.approx(reliability(tokens.signal[0], np.exp(-tokens.cross_entropy[0])).error)


def test_a_claimed_gain_is_held_against_the_realised_one_by_decile() -> None:
    tokens = knowing_table(3, 2000)
    gain = tokens.cross_entropy[0] - tokens.cross_entropy[1]
    judged = exit_quality(tokens, 0, Meaning("gain", lambda signal: 3 * (0.5 - signal)))
    assert judged.signal is not None
    order = np.argsort(-tokens.signal[0], kind="stable").reshape(10, 200)
    assert judged.signal.counts.tolist() == [200] * 10
    assert judged.signal.claimed == pytest.approx(3 * (0.5 - tokens.signal[0][order].mean(1)), abs=1e-5)
    assert judged.signal.found == pytest.approx(gain[order].mean(1), abs=1e-5)
    assert judged.correct.auroc == exit_quality(tokens, 0).correct.auroc


def test_a_true_claim_of_gain_has_no_error_and_one_that_is_off_has_its_distance() -> None:
    tokens = knowing_table(2, 20_000)
    gain = tokens.cross_entropy[0] - tokens.cross_entropy[1]
    exact = exit_quality(tokens, 0, Meaning("gain", lambda signal: gain)).signal
    shifted = exit_quality(tokens, 0, Meaning("gain", lambda signal: gain + 0.25)).signal
    assert exact is not None
    assert shifted is not None
    assert exact.error == pytest.approx(0, abs=1e-6)
    assert shifted.error == pytest.approx(0.25, abs=1e-6)
    assert shifted.bias == pytest.approx(0.25, abs=1e-6)


def test_a_signal_that_claims_an_order_only_is_ranked_and_not_calibrated() -> None:
    tokens = knowing_table(3, 2000)
    judged = exit_quality(tokens, 0, Meaning("rank"))
    assert judged.signal is None
    assert judged.correct == exit_quality(tokens, 0).correct
    assert signal_reliability(tokens, 0, Meaning("rank")) is None


def test_a_run_is_judged_with_its_own_thresholds() -> None:
    tokens = knowing_table(2, 2000)
    savings = depth_savings(ExitCosts(ModelConfig(block_layers=(2, 2)), 100, 4, reads_head=True))
    judged = quality(tokens, savings, paid(2), thresholds=(0.3,))
    assert judged.as_run[0] == (tokens.signal[0] >= np.float32(0.3)).mean()
    assert judged.flops.savings[0] < 0  # reading the head twice and never leaving
    assert len(judged.exits) == 1


def test_a_model_of_one_block_has_no_exits_and_nothing_to_overthink() -> None:
    tokens = knowing_table(1, 80)
    judged = quality(
        tokens, depth_savings(ExitCosts(ModelConfig(block_layers=(2,)), 100, 4, reads_head=False)), paid(1)
    )
    assert judged.exits == ()
    assert judged.overthinking.destructive == 0
    assert judged.layers.area == 0
    assert judged.layers.mean_gain is None
