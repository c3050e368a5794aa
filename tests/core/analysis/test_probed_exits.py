"""The exits of a probe, held against the static line on tokens whose losses are known."""

import numpy as np
import pytest

from core.analysis.probed_exits import SAVINGS, judged_exits
from core.analysis.token_table import Floats, TokenTable
from core.costs import PricedCosts
from core.formulas import price_signal

TOKENS, WINDOW = 16_384, 128
LAYERS, DEPTHS = (1, 1, 1, 1, 1), PricedCosts((0.2, 0.4, 0.6, 0.8, 1.0), (0.0,) * 4)


def table(prices: Floats, easy: Floats) -> TokenTable:
    """Return tokens of which the easy ones lose nothing at any depth, the others 4 nats before the last."""
    losses = np.stack([np.where(easy, 1.0, 5.0)] * 4 + [np.ones(TOKENS)]).astype(np.float32)
    ids = np.zeros(TOKENS, np.int32)
    return TokenTable(
        cross_entropy=losses,
        signal=np.stack([price_signal(prices)] * 4).astype(np.float32),
        max_prob=losses,
        prediction=np.zeros_like(losses, np.int32),
        inputs=ids,
        targets=ids,
        seq_len=WINDOW,
    )


def test_exits_that_know_the_easy_tokens_stand_below_the_static_line() -> None:
    draw = np.random.default_rng(1)
    easy = draw.random(TOKENS) < 0.6
    found = judged_exits(table(draw.random(TOKENS) + np.where(easy, 0.0, 1.0), easy), DEPTHS, LAYERS, 7)
    assert (found.layers, found.trained, found.tokens) == ((1, 2, 3, 4, 5), 7, TOKENS)
    assert found.losses == pytest.approx((*[1 + 4 * (1 - easy.mean())] * 4, 1.0))
    for asked, point in zip(SAVINGS, found.points, strict=True):
        assert point.saved == pytest.approx(asked, abs=0.01)
        assert point.loss == pytest.approx(1.0)  # only easy tokens leave
        line = point.saved / 0.8 * (found.losses[0] - 1)  # a share of the tokens at the first depth
        assert point.difference == pytest.approx(-line, abs=1e-3)
        assert point.interval is not None
        assert point.interval.high < -0.3
    mean = -float(np.mean([point.difference for point in found.points]))
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(mean)
    assert found.gain.low < mean < found.gain.high


def test_exits_by_chance_stand_on_the_static_line() -> None:
    draw = np.random.default_rng(1)
    found = judged_exits(table(draw.random(TOKENS), draw.random(TOKENS) < 0.5), DEPTHS, LAYERS, 7)
    assert found.gain is not None
    assert found.gain.low < 0 < found.gain.high < 0.05


def test_exits_that_save_nothing_have_no_points() -> None:
    found = judged_exits(table(np.full(TOKENS, 1e9), np.zeros(TOKENS, bool)), DEPTHS, LAYERS, 7)
    assert (found.points, found.gain) == ((), None)
