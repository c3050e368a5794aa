"""The contract that every file in `core/exits/` keeps, found by listing the folder."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.config import EXITS, method_names
from core.exits import exit_method
from core.exits._contract import ExitMethod
from core.losses import TokenStatistics, token_statistics
from core.model import ExitClassifier

TOKENS, DIM, WORDS = 17, 8, 30
LABELS = {
    "distill": lambda probabilities, targets: probabilities.max(1).values,
    "softmax": lambda probabilities, targets: probabilities.max(1).values,
    "loss": lambda probabilities, targets: probabilities[torch.arange(TOKENS), targets],
    "correct": lambda probabilities, targets: (probabilities.argmax(1) == targets).double(),
}
every_method = pytest.mark.parametrize("method", [exit_method(name) for name in method_names()], ids=method_names())


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(TOKENS, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(WORDS, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture
def targets(hidden: Tensor, weight: Tensor) -> Tensor:
    """Some the most probable word, some not."""
    return torch.where(torch.arange(TOKENS) % 3 == 0, (hidden @ weight.T).argmax(1), torch.arange(TOKENS))


@pytest.fixture
def statistics(hidden: Tensor, weight: Tensor, targets: Tensor) -> TokenStatistics:
    return token_statistics(hidden, weight, targets)


@pytest.fixture
def classifier() -> ExitClassifier:
    torch.manual_seed(3)
    return ExitClassifier(DIM).double()


def test_every_file_without_an_underscore_is_a_method_and_the_report_s_are_there() -> None:
    files = {path.stem for path in Path(EXITS).iterdir() if path.suffix == ".py" and path.name[0] != "_"}
    assert set(method_names()) == files
    assert files >= {"distill", "loss", "softmax", "correct"}


def test_an_unknown_method_is_a_key_error() -> None:
    for name in ("nonsense", "_contract"):
        with pytest.raises(KeyError):
            exit_method(name)


@every_method
def test_a_method_is_an_exit_method_that_says_what_it_needs(method: ExitMethod) -> None:
    assert isinstance(method, ExitMethod)
    assert isinstance(method.learns, bool)
    assert isinstance(method.reads_head, bool)
    assert method.learns or method.reads_head


@every_method
def test_labels_are_one_share_a_token(method: ExitMethod, statistics: TokenStatistics) -> None:
    label = method.label(statistics)
    assert label.shape == (TOKENS,)
    assert label.dtype == torch.float64
    assert ((label >= 0) & (label <= 1)).all()
    assert label.unique().numel() > 1


@every_method
def test_signals_are_one_share_a_token(
    method: ExitMethod, hidden: Tensor, statistics: TokenStatistics, classifier: ExitClassifier
) -> None:
    signal = method.signal(hidden, statistics, classifier)
    assert signal.shape == (TOKENS,)
    assert ((signal >= 0) & (signal <= 1)).all()
    assert signal.unique().numel() > 1


@every_method
def test_only_a_signal_that_reads_the_head_needs_statistics(
    method: ExitMethod, hidden: Tensor, statistics: TokenStatistics, classifier: ExitClassifier
) -> None:
    if method.reads_head:
        with pytest.raises(AssertionError):
            method.signal(hidden, None, classifier)
    else:
        expected = method.signal(hidden, statistics, classifier)
        assert torch.equal(method.signal(hidden, None, classifier), expected)


@every_method
def test_a_learned_exit_has_a_finite_loss_summed_over_tokens_that_training_can_lower(
    method: ExitMethod, hidden: Tensor, statistics: TokenStatistics, classifier: ExitClassifier
) -> None:
    label = method.label(statistics)
    if not method.learns:
        with pytest.raises(TypeError):
            method.loss(classifier(hidden), label)
        return
    loss = method.loss(classifier(hidden), label)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    parts = [method.loss(classifier(hidden[part]), label[part]) for part in (slice(0, 5), slice(5, None))]
    torch.testing.assert_close(loss, sum(parts))
    with torch.no_grad():
        for parameter in classifier.parameters():
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad
        assert method.loss(classifier(hidden), label) < loss


@pytest.mark.parametrize("name", sorted(LABELS))
def test_each_label_is_its_formula(
    name: str, hidden: Tensor, weight: Tensor, targets: Tensor, statistics: TokenStatistics
) -> None:
    expected = LABELS[name]((hidden @ weight.T).softmax(1), targets)
    torch.testing.assert_close(exit_method(name).label(statistics), expected)


@pytest.mark.parametrize("name", ["distill", "loss", "correct"])
def test_a_learned_signal_is_the_sigmoid_of_the_classifier(
    name: str, hidden: Tensor, classifier: ExitClassifier
) -> None:
    logit = hidden @ classifier.linear.weight[0] + classifier.linear.bias
    torch.testing.assert_close(exit_method(name).signal(hidden, None, classifier), 1 / (1 + (-logit).exp()))


@pytest.mark.parametrize("name", ["distill", "loss"])
def test_distill_and_loss_are_fitted_by_squared_error(name: str) -> None:
    logit, label = torch.tensor([0.3, -2.0]), torch.tensor([0.9, 0.1])
    assert exit_method(name).loss(logit, label).item() == pytest.approx(((logit.sigmoid() - label) ** 2).sum().item())


def test_correct_is_fitted_by_binary_cross_entropy() -> None:
    logit, label = torch.tensor([0.3, -2.0, 0.7]), torch.tensor([1.0, 0.0, 0.0])
    expected = F.binary_cross_entropy(logit.sigmoid(), label, reduction="sum")
    assert exit_method("correct").loss(logit, label).item() == pytest.approx(expected.item())


def test_the_softmax_signal_is_the_largest_probability(
    hidden: Tensor, weight: Tensor, statistics: TokenStatistics, classifier: ExitClassifier
) -> None:
    signal = exit_method("softmax").signal(hidden, statistics, classifier)
    torch.testing.assert_close(signal, (hidden @ weight.T).softmax(1).max(1).values)
