"""The static line, compared with a search over all mixtures of two depths."""

import numpy as np
import pytest

from core.static_line import static_mixture


@pytest.mark.parametrize("seed", range(5))
def test_no_mixture_of_two_depths_that_saves_as_much_is_better(seed: int) -> None:
    draw = np.random.default_rng(seed)
    savings = np.sort(draw.random(4))[::-1]
    losses = draw.random(4)
    for at in draw.random(20) * savings.max():
        found = static_mixture(savings.tolist(), losses.tolist(), at)
        assert sum(found.weights) == pytest.approx(1)
        assert np.dot(found.weights, savings) >= at - 1e-6
        assert np.dot(found.weights, losses) == pytest.approx(found.loss)
        shares = np.linspace(0, 1, 501)
        for a in range(4):
            for b in range(4):
                saved, lost = (shares * v[a] + (1 - shares) * v[b] for v in (savings, losses))
                enough = saved >= at
                assert not enough.any() or found.loss <= lost[enough].min() + 1e-6


@pytest.mark.parametrize("at", [-0.2, 0.0, 0.1, 1 / 3, 0.5, 2 / 3, 0.9])
@pytest.mark.parametrize("losses", [(3.0, 2.0, 1.0), (1.0, 2.0, 1.5), (2.0, 1.0, 3.0)])
def test_depths_at_the_very_savings_and_beyond_count(losses: tuple[float, ...], at: float) -> None:
    savings = (2 / 3, 1 / 3, 0.0)
    found = static_mixture(savings, losses, at)
    assert sum(found.weights) == pytest.approx(1)
    assert np.dot(found.weights, savings) >= min(at, 2 / 3) - 1e-6
    assert found.loss <= min(loss for loss, saved in zip(losses, savings, strict=True) if saved >= min(at, 2 / 3))


def test_beyond_all_savings_the_depth_that_saves_most_stands() -> None:
    assert static_mixture((0.5, 0.0), (3.0, 2.0), 0.9).weights == (1.0, 0.0)
    assert static_mixture((0.5, 0.0), (3.0, 2.0), -0.5).weights == (0.0, 1.0)


def test_windows_are_mixed_as_the_losses_are() -> None:
    found = static_mixture((0.5, 0.25, 0.0), (3.0, 9.0, 2.0), 0.25)
    assert found.of_windows([[3.0, 4.0], [9.0, 9.0], [1.0, 3.0]]) == [2.0, 3.5]
    assert found.main in (0, 2)
