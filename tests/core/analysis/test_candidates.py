"""Candidates of a calibration."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from core.analysis.candidates import CANDIDATES, price_candidates, rate_candidates
from core.analysis.token_table import TokenTable
from core.costs import PricedCosts
from core.formulas import price_signal
from core.pricing.thresholds import is_on
from tests.core.analysis.tables import knowing_table

LAYERS = PricedCosts((1 / 3, 2 / 3, 1.0), (0.0, 0.0))


@pytest.fixture(scope="module")
def table() -> TokenTable:
    return knowing_table(3, 4000)


@pytest.mark.parametrize("is_price", [True, False])
def test_at_a_higher_price_no_token_leaves_later(table: TokenTable, is_price: bool) -> None:
    signal = price_signal(0.2 - table.signal.astype(np.float64)).astype(np.float32)
    found = price_candidates(replace(table, signal=signal), LAYERS, is_price=is_price)
    assert (np.diff(found.thresholds, axis=0) <= 0).all()
    assert (np.diff(found.made_from) > 0).all()
    left = [replace(table, signal=signal).left_at(row) for row in found.thresholds[::9].tolist()]
    assert all((later <= earlier).all() for earlier, later in pairwise(left))
    assert left[0].mean() - left[-1].mean() > 0.5


def test_where_signals_are_prices_the_threshold_is_the_price(table: TokenTable) -> None:
    found = price_candidates(table, LAYERS, is_price=True)
    assert len(found.thresholds) == CANDIDATES
    assert found.thresholds[7].tolist() == [float(np.float32(price_signal(found.price(7))))] * 2


def test_every_candidate_has_an_exit_that_is_on(table: TokenTable) -> None:
    """Where each later block is better, low prices let no token leave; where a signal costs more, none does."""
    deeper = replace(table, cross_entropy=-np.sort(-table.cross_entropy, axis=0))
    found = price_candidates(deeper, LAYERS, is_price=False)
    assert 0 < len(found.thresholds) < CANDIDATES
    assert all(any(map(is_on, row)) for row in found.thresholds.tolist())
    assert not len(price_candidates(deeper, replace(LAYERS, arriving=(2.0, 2.0)), is_price=False).thresholds)


def test_a_rate_has_no_price(table: TokenTable) -> None:
    assert rate_candidates(table).price(3) is None
