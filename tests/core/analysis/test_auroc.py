"""The area under the ROC curve, compared with its definition, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis.auroc import auroc, midranks


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half(tokens: list[tuple[int, bool]]) -> None:
    values, kinds = np.array([value for value, _ in tokens], np.float32), np.array([kind for _, kind in tokens])
    pairs = [(a > b) + (a == b) / 2 for a in values[kinds] for b in values[~kinds]]
    found = auroc(midranks(values), kinds)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)
