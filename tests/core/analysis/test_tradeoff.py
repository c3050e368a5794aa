"""Quality against savings: curves, the static line and the bound, compared with plain definitions."""

from dataclasses import replace

import numpy as np
import pytest

from core import costs
from core.analysis.tradeoff import TradeOff, depth_savings, possible_losses, quality_curve, static_weights, trade_off
from core.config.run_config import ModelConfig
from core.intervals import over_windows
from core.pricing.thresholds import where_left
from tests.core.analysis.tables import knowing_table


def test_the_curve_goes_from_all_blocks_to_block_0_alone() -> None:
    tokens = knowing_table(3, 4000)
    curve = quality_curve(tokens)
    assert curve.loss[[0, -1]] == pytest.approx(tokens.mean_loss[[-1, 0]])
    assert curve.shares[[0, -1]].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert (np.diff(curve.savings((0.6, 0.3, 0))) >= 0).all()


@pytest.mark.parametrize("exited_state", ["copy", "drop", "input"])
@pytest.mark.parametrize("reads_head", [True, False])
def test_savings_by_block_add_up_to_those_of_any_exit_shares(reads_head: bool, exited_state: str) -> None:
    model = ModelConfig(block_layers=(1, 2, 3))
    cost = costs.ExitCosts(model, 1000, 32, reads_head, exited_state)
    savings = depth_savings(cost)
    shares = (0.5, 0.2, 0.3)
    full = costs.full_flops(model, 1000, 32)
    assert np.dot(shares, savings.flops) == pytest.approx(1 - cost.flops(shares) / full)
    assert savings.layers == pytest.approx((5 / 6, 1 / 2, 0))
    assert savings.static_flops[-1] == 0
    assert all(static >= early for static, early in zip(savings.static_flops, savings.flops, strict=True))


def test_a_mixture_of_static_depths_has_the_savings_and_one_that_is_cheaper_and_better_is_taken() -> None:
    at = np.array([-0.1, 0.0, 0.25, 0.5, 0.9])

    def line(savings: tuple[float, ...], losses: tuple[float, ...]) -> list[float]:
        return list(static_weights(savings, losses, at) @ np.asarray(losses))

    assert line((0.5, 0), (3, 2)) == pytest.approx([2, 2, 2.5, 3, 3])
    assert line((0.5, 0), (1, 2)) == pytest.approx([1] * 5)
    assert line((0.5, 0.25, 0), (3, 9, 2)) == pytest.approx([2, 2, 2.5, 3, 3]), "the middle depth is of no use"


def test_a_signal_without_knowledge_lies_on_the_static_line_and_one_that_knows_all_reaches_what_is_possible() -> None:
    tokens = knowing_table(2, 40_000)
    draw = np.random.default_rng(2)
    excess = tokens.excess(0)
    signals = {
        "blind": draw.random(excess.shape),
        "all": 1 - excess.argsort().argsort() / len(excess),
        "wrong": excess.argsort().argsort() / len(excess),
    }
    found = {}
    for name, signal in signals.items():
        judged = replace(tokens, signal=signal[None].astype(np.float32))
        found[name] = trade_off(judged, quality_curve(judged), (0.5, 0), (0.5, 0))
    assert found["blind"].mean_gain == pytest.approx(0, abs=0.003)
    assert found["all"].share_of_possible == pytest.approx(1, abs=0.001)
    assert found["all"].beats[1:-1].all()
    assert not found["all"].beats[[0, -1]].any()
    assert not found["wrong"].beats.any()
    assert found["wrong"].area < 0


@pytest.mark.parametrize("seed", range(4))
def test_random_signals_are_hardly_ever_called_below_the_static_line(seed: int) -> None:
    """At 97.5% on one side; the points of a curve are not independent, so a single curve may have more."""
    tokens = knowing_table(3, 20_000, seed, seq_len=16)
    signal = np.random.default_rng(seed).random(tokens.signal.shape).astype(np.float32)
    judged = replace(tokens, signal=signal)
    found = trade_off(judged, quality_curve(judged), (0.6, 0.3, 0), (0.6, 0.3, 0))
    assert found.beats.mean() <= 0.1
    assert (found.loss < found.line).any()


def test_the_upper_ends_are_those_of_the_interval_over_windows() -> None:
    tokens = knowing_table(2, 4096, seq_len=16)
    curve = quality_curve(tokens, 5)
    found = trade_off(tokens, curve, (0.5, 0), (0.5, 0))
    for point, threshold in enumerate(curve.thresholds[:, 0]):
        early = where_left(tokens.cross_entropy, tokens.left_at([threshold]))
        share = min(1.0, found.savings[point] / 0.5)
        mixed = share * tokens.cross_entropy[0] + (1 - share) * tokens.cross_entropy[1]
        one_depth = tokens.mean_loss.argmin()
        line = mixed if found.line[point] > tokens.mean_loss.min() + 1e-6 else tokens.cross_entropy[one_depth]
        interval = over_windows((early - line).reshape(-1, 16).mean(1).tolist())
        assert interval is not None
        assert found.highest[point] == pytest.approx(interval.high, abs=1e-5)


def test_too_few_windows_beat_nothing() -> None:
    tokens = knowing_table(2, 80, seq_len=16)
    found = trade_off(tokens, quality_curve(tokens), (0.5, 0), (0.5, 0))
    assert np.isnan(found.highest).all()
    assert not found.beats.any()


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_the_best_possible_exits_are_those_of_the_lowest_price_for_every_token(blocks: int) -> None:
    tokens, savings = knowing_table(blocks, 500), np.linspace(0.6, 0, blocks)
    saved, losses = possible_losses(tokens, savings.tolist())
    assert (np.diff(saved) > 0).all()
    for price in (-1, 0, 0.1, 1, 3):
        best = (tokens.cross_entropy - price * savings[:, None]).argmin(0)
        loss = tokens.cross_entropy[best, np.arange(500)].mean()
        assert np.interp(savings[best].mean(), saved, losses) == pytest.approx(loss, abs=1e-6)
    assert (saved[-1], losses[-1]) == pytest.approx((0.6, tokens.mean_loss[0]))


def test_a_curve_without_width_has_no_mean_gain() -> None:
    point = np.array([0.1])
    flat = TradeOff(point, point, point, point, point)
    assert (flat.area, flat.mean_gain, flat.share_of_possible) == (0, None, None)
