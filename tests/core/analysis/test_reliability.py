"""Reliability diagrams against bins made by hand."""

import numpy as np
import pytest

from core.analysis.reliability import reliability


def test_groups_and_the_expected_calibration_error_by_hand() -> None:
    claimed = np.array([0.05, 0.15, 0.95, 1.0], np.float32)
    found = reliability(claimed, np.array([False, True, True, True]), groups=2)
    assert found.counts.tolist() == [2, 2]
    assert found.claimed == pytest.approx([0.1, 0.975])
    assert found.found.tolist() == [0.5, 1.0]
    assert found.error == pytest.approx((0.4 + 0.025) / 2)
    assert found.bias == pytest.approx((0.1 + 0.975 - 1.5) / 2)


def test_groups_hold_equally_many_and_split_no_tie() -> None:
    draw = np.random.default_rng(0)
    claimed = draw.random(1000).astype(np.float32) ** 4
    assert set(reliability(claimed, claimed).counts.tolist()) == {100}
    tied = reliability(np.array([0.1] * 5 + [0.5] * 5, np.float32), np.ones(10), 4)
    assert tied.counts.tolist() == [5, 5]


def test_a_true_probability_has_no_calibration_error_and_a_false_one_has() -> None:
    draw = np.random.default_rng(1)
    claimed = draw.random(100_000).astype(np.float32)
    happened = draw.random(100_000) < claimed
    assert reliability(claimed, happened).error < 0.01
    assert reliability(claimed, happened | (claimed < 0.3)).error > 0.1
