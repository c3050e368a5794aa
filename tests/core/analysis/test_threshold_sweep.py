"""The sweep over many thresholds, compared with trying each of them token by token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.analysis.threshold_sweep import sweep, threshold_grid
from core.pricing.thresholds import NEVER, quantile_thresholds
from tests.core.analysis.tables import knowing_table, left_at_by_hand


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0, 4]), st.integers(1, 3))
def test_a_sweep_says_for_every_unit_what_trying_each_candidate_says(
    blocks: int, seed: int, levels: int, windows: int
) -> None:
    tokens = knowing_table(blocks, 24, seed, levels)
    thresholds = threshold_grid(tokens.signal, np.linspace(0, 1, 6))
    swept = sweep(tokens, thresholds, windows * tokens.seq_len)
    used = len(swept.excess) * windows * tokens.seq_len
    for candidate, row in enumerate(thresholds):
        left = np.array(left_at_by_hand(tokens, row))[:used]
        excess = tokens.cross_entropy[left, np.arange(used)].astype(float) - tokens.cross_entropy[-1, :used]
        units = left.reshape(len(swept.excess), -1)
        shares = [np.bincount(unit, minlength=blocks) / units.shape[1] for unit in units]
        assert swept.excess[:, candidate] == pytest.approx(excess.reshape(units.shape).mean(1), abs=1e-9)
        assert swept.shares[:, candidate] == pytest.approx(np.array(shares))


def test_candidates_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="no threshold may rise"):
        sweep(knowing_table(2, 8), np.array([[0.1], [0.2]]))


@pytest.mark.parametrize("rate", [0, 0.25, 0.5, 1])
def test_the_exit_rate_is_kept_among_the_tokens_that_arrive(rate: float) -> None:
    tokens = knowing_table(3, 4000)
    thresholds = np.array(quantile_thresholds(tokens.signal, rate))
    left = np.array(left_at_by_hand(tokens, thresholds))
    assert (left == 0).mean() == rate
    assert (left == 1).sum() == round(rate * (left > 0).sum())
    if not rate:
        assert thresholds.tolist() == [NEVER] * 2


def test_a_rate_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_thresholds(knowing_table(2, 8).signal, 1.5)
