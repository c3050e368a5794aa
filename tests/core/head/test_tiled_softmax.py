"""The softmax, tile by tile."""

import pytest
import torch

from core.head import chunks
from core.head.chunks import Chunking
from core.head.loss import linear_cross_entropy, token_statistics
from core.head.tiled_softmax import ChunkStatistics
from tests.core.head.examples import WORDS, example


@pytest.mark.parametrize("words", [1, 5, 7, 8, 30, 31, 40])
def test_any_width_of_a_tile_gives_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch, words: int) -> None:
    hidden, weight, targets = example(12)
    extras = frozenset({"margin", "entropy"})
    loss, _ = linear_cross_entropy(hidden, weight, targets, 0.1)
    expected = (loss, *torch.autograd.grad(loss, (hidden, weight)))
    statistics = dict(token_statistics(hidden, weight, targets, extras).columns())
    monkeypatch.setattr(chunks, "SMALL_CPU", Chunking(tokens=5, entries=words))
    loss, _ = linear_cross_entropy(hidden, weight, targets, 0.1)
    torch.testing.assert_close((loss, *torch.autograd.grad(loss, (hidden, weight))), expected)
    for name, column in token_statistics(hidden, weight, targets, extras).columns():
        torch.testing.assert_close(column, statistics[name])


@pytest.mark.parametrize("words", [1, 2, 63, 64, 65, 127, 128, 200])
def test_of_several_words_with_the_largest_logit_the_first_is_predicted(words: int) -> None:
    draw = torch.Generator().manual_seed(words)
    logits = torch.randint(3, (50, words), generator=draw).float()
    expected = logits.argmax(1)
    tiles = ChunkStatistics(torch.zeros(50, 1, dtype=torch.int64), 2 * words)
    for tile in (logits - 1, logits):
        tiles.softmax(tile.clone())
    assert tiles.join()[0].prediction.tolist() == (expected + words).tolist()


def test_of_equal_logits_in_several_tiles_the_first_is_predicted() -> None:
    hidden, weight, targets = example(12)
    weight = weight.detach()[torch.arange(WORDS) % 6]  # each row at least once in every tile of seven
    assert (token_statistics(hidden, weight, targets).prediction < 6).all()
