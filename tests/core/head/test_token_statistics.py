"""Statistics of predictions, token by token."""

import pytest
import torch
import torch.nn.functional as F

from core.head.loss import linear_cross_entropy_with_statistics, token_statistics
from core.head.token_statistics import TokenStatistics
from tests.core.head.examples import WORDS, example


@pytest.mark.parametrize("tokens", [1, 5, 23])
def test_statistics_equal_those_of_the_full_softmax(tokens: int) -> None:
    hidden, weight, targets = example(tokens)
    logits = F.linear(hidden, weight).detach()
    _, with_gradients = linear_cross_entropy_with_statistics(hidden, weight, targets)
    for statistics in (with_gradients, token_statistics(hidden, weight, targets)):
        expected = F.cross_entropy(logits, targets, reduction="none")
        torch.testing.assert_close(statistics.cross_entropy, expected)
        torch.testing.assert_close(statistics.max_prob, logits.softmax(1).max(1).values)
        assert statistics.correct.tolist() == (logits.argmax(1) == targets).tolist()
        assert statistics.prediction.dtype == torch.int64
        assert statistics.prediction.tolist() == logits.argmax(1).tolist()
        assert not statistics.cross_entropy.requires_grad


@pytest.mark.parametrize("extras", [{"margin"}, {"entropy"}, {"margin", "entropy"}])
def test_extra_statistics_are_made_only_when_asked_for(extras: set[str]) -> None:
    hidden, weight, targets = example(23)
    statistics = token_statistics(hidden, weight, targets, frozenset(extras))
    probabilities = F.linear(hidden, weight).detach().softmax(1)
    best, second = probabilities.topk(2).values.T
    expected = {
        "margin": best - second,
        "entropy": -(probabilities * probabilities.log()).sum(1) / torch.tensor(float(WORDS)).double().log(),
    }
    for name, values in expected.items():
        if name in extras:
            torch.testing.assert_close(getattr(statistics, name), values)
            torch.testing.assert_close(getattr(statistics[torch.arange(3)], name), values[:3])
        else:
            assert getattr(statistics, name) is None
    assert torch.equal(statistics.cross_entropy, token_statistics(hidden, weight, targets).cross_entropy)


def test_statistics_of_no_tokens_are_empty() -> None:
    hidden, weight, targets = example(3)
    statistics = token_statistics(hidden[:0], weight, targets[:0])
    assert len(statistics.cross_entropy) == len(statistics.max_prob) == len(statistics.correct) == 0


def test_statistics_can_be_taken_by_mask_and_by_index() -> None:
    statistics = token_statistics(*example(6))
    mask = torch.tensor([True, False, False, True, True, False])
    for chosen in (statistics[mask], statistics[mask.nonzero().squeeze(1)]):
        assert chosen.cross_entropy.tolist() == statistics.cross_entropy[[0, 3, 4]].tolist()
        assert chosen.correct.tolist() == statistics.correct[[0, 3, 4]].tolist()
        assert chosen.prediction.tolist() == statistics.prediction[[0, 3, 4]].tolist()


def test_statistics_can_be_filled_in_parts() -> None:
    whole = token_statistics(*example(6))
    parts = TokenStatistics.empty(6, whole.max_prob)
    for part in (slice(0, 4), slice(4, 6)):
        parts.fill(part, whole[torch.arange(6)[part]])
    for name in ("cross_entropy", "max_prob", "correct", "prediction"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
