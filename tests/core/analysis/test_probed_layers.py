"""The layers of a probe: their oracle and their stable predictions from plain formulas."""

import numpy as np
import pytest

from core.analysis.probed_layers import priced_oracles, stable_share


def test_a_priced_oracle_leaves_where_loss_and_depth_cost_least() -> None:
    losses = np.array([[1.0, 5.0], [0.9, 1.0], [0.1, 0.9]], np.float32)
    found = {one.price: one for one in priced_oracles(losses, (2 / 3, 1 / 3, 0.0))}
    assert (found[0.5].saved, found[0.5].loss) == (pytest.approx(1 / 6), pytest.approx((0.1 + 1.0) / 2))
    assert (found[2.0].saved, found[2.0].loss) == (pytest.approx(1 / 2), pytest.approx((1.0 + 1.0) / 2))
    assert found[4.0].saved == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_a_prediction_is_stable_from_where_it_is_the_last_one_s_for_good() -> None:
    predictions = np.array([[7, 7, 1], [7, 2, 2], [7, 7, 3]])
    assert stable_share(predictions, (2 / 3, 1 / 3, 0.0)) == pytest.approx((2 / 3 + 0 + 0) / 3)
