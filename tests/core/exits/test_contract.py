"""The contract that every file in `core/exits/` keeps, found by listing the folder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.config.run_config import EXITS, method_names
from core.exits import exit_method, first_method
from core.exits._contract import ExitMethod, Observation
from core.head.loss import token_statistics
from core.model import ExitClassifier
from core.rng import stream, uniform

TOKENS, DIM, WORDS = 17, 8, 30
LABELS = {
    "distill": lambda p, targets: p.max(1).values,
    "softmax": lambda p, targets: p.max(1).values,
    "loss": lambda p, targets: p[torch.arange(TOKENS), targets],
    "correct": lambda p, targets: (p.argmax(1) == targets).double(),
    "margin": lambda p, targets: p.sort(1).values[:, -1] - p.sort(1).values[:, -2],
    "entropy": lambda p, targets: 1 + (p * p.log()).sum(1) / torch.tensor(float(WORDS)).double().log(),
}
every_method = pytest.mark.parametrize("method", [exit_method(name) for name in method_names()], ids=method_names())


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def weight() -> Tensor:
    return normal(2, WORDS, DIM)


@pytest.fixture
def targets(weight: Tensor) -> Tensor:
    """Some the most probable word, some not."""
    return torch.where(
        torch.arange(TOKENS) % 3 == 0, (normal(1, TOKENS, DIM) @ weight.T).argmax(1), torch.arange(TOKENS)
    )


@pytest.fixture
def seen(weight: Tensor, targets: Tensor) -> Observation:
    """Everything there can be to know: two more blocks, the last of which agrees on some tokens."""
    hidden, extras = normal(1, TOKENS, DIM), frozenset({"margin", "entropy"})
    after, last = normal(5, TOKENS, DIM), hidden + normal(6, TOKENS, DIM)
    return Observation(
        hidden=hidden,
        output=normal(3, TOKENS, DIM),
        entered=normal(4, TOKENS, DIM),
        tokens=torch.arange(TOKENS) * 3,
        block=0,
        seed=42,
        statistics=token_statistics(hidden, weight, targets, extras),
        later=tuple(token_statistics(states, weight, targets) for states in (after, last)),
    )


@pytest.fixture
def classifier() -> ExitClassifier:
    torch.manual_seed(3)
    return ExitClassifier(DIM).double()


def some(seen: Observation, tokens: Tensor) -> Observation:
    """What there is to know of some of the tokens."""
    return replace(
        seen,
        hidden=seen.hidden[tokens],
        output=seen.output[tokens],
        entered=seen.entered[tokens],
        tokens=seen.tokens[tokens],
        statistics=seen.known[tokens],
        later=tuple(block[tokens] for block in seen.later),
    )


def test_every_file_without_an_underscore_is_a_method_and_the_usual_ones_are_there() -> None:
    files = {path.stem for path in Path(EXITS).iterdir() if path.suffix == ".py" and path.name[0] != "_"}
    assert set(method_names()) == files
    assert files >= {"distill", "loss", "softmax", "correct"}
    assert files >= {"margin", "entropy", "saturation", "gain", "agree", "random", "oracle"}


def test_an_unknown_method_is_a_key_error() -> None:
    for name in ("nonsense", "_contract"):
        with pytest.raises(KeyError):
            exit_method(name)


@every_method
def test_a_method_is_an_exit_method_that_says_what_it_needs(method: ExitMethod) -> None:
    assert isinstance(method, ExitMethod)
    for flag in (method.learns, method.reads_head, method.needs_later, method.foresees):
        assert isinstance(flag, bool)
    assert method.extras <= {"margin", "entropy"}
    assert not (method.extras and method.learns), "what is fitted along with a block has the usual statistics only"
    assert not (method.foresees and not method.needs_later), "a signal that looks ahead can't be set before it may"


@every_method
def test_a_stand_in_can_decide_before_the_later_blocks_are_trained(method: ExitMethod) -> None:
    assert not exit_method(method.stand_in).needs_later
    name = method.__class__.__module__.rpartition(".")[2]
    assert first_method(name) is (exit_method(method.stand_in) if method.needs_later else method)


@every_method
def test_labels_are_one_share_a_token(method: ExitMethod, seen: Observation) -> None:
    label = method.label(seen)
    assert label.shape == (TOKENS,)
    assert label.dtype == torch.float64
    assert ((label >= 0) & (label <= 1)).all()
    assert label.unique().numel() > 1


@every_method
def test_signals_are_one_share_a_token_whoever_is_asked_with_it(
    method: ExitMethod, seen: Observation, classifier: ExitClassifier
) -> None:
    signal = method.signal(seen, classifier)
    assert signal.shape == (TOKENS,)
    assert ((signal >= 0) & (signal <= 1)).all()
    assert signal.unique().numel() > 1
    chosen = torch.tensor([16, 2, 5])
    torch.testing.assert_close(method.signal(some(seen, chosen), classifier), signal[chosen])


@every_method
def test_a_signal_uses_no_more_than_the_method_says(
    method: ExitMethod, seen: Observation, classifier: ExitClassifier
) -> None:
    expected = method.signal(seen, classifier)
    blind, short_sighted = replace(seen, statistics=None), replace(seen, later=())
    for needed, less in ((method.reads_head, blind), (method.foresees, short_sighted)):
        if needed:
            with pytest.raises(AssertionError):
                method.signal(less, classifier)
        else:
            assert torch.equal(method.signal(less, classifier), expected)


@every_method
def test_a_label_uses_no_more_than_the_method_says(method: ExitMethod, seen: Observation) -> None:
    if method.needs_later:
        with pytest.raises(AssertionError):
            method.label(replace(seen, later=()))
    else:
        assert torch.equal(method.label(replace(seen, later=())), method.label(seen))


@every_method
def test_a_learned_exit_has_a_finite_loss_summed_over_tokens_that_training_can_lower(
    method: ExitMethod, seen: Observation, classifier: ExitClassifier
) -> None:
    hidden, label = seen.hidden, method.label(seen)
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
def test_each_label_is_its_formula(name: str, seen: Observation, weight: Tensor, targets: Tensor) -> None:
    expected = LABELS[name]((seen.hidden @ weight.T).softmax(1), targets)
    torch.testing.assert_close(exit_method(name).label(seen), expected)


@pytest.mark.parametrize("name", ["distill", "loss", "correct", "gain", "agree"])
def test_a_learned_signal_is_the_sigmoid_of_the_classifier(
    name: str, seen: Observation, classifier: ExitClassifier
) -> None:
    logit = seen.hidden @ classifier.linear.weight[0] + classifier.linear.bias
    torch.testing.assert_close(exit_method(name).signal(seen, classifier), 1 / (1 + (-logit).exp()))


@pytest.mark.parametrize("name", ["distill", "loss"])
def test_distill_and_loss_are_fitted_by_squared_error(name: str) -> None:
    logit, label = torch.tensor([0.3, -2.0]), torch.tensor([0.9, 0.1])
    assert exit_method(name).loss(logit, label).item() == pytest.approx(((logit.sigmoid() - label) ** 2).sum().item())


@pytest.mark.parametrize("name", ["correct", "agree"])
def test_what_is_so_or_not_is_fitted_by_binary_cross_entropy(name: str) -> None:
    logit, label = torch.tensor([0.3, -2.0, 0.7]), torch.tensor([1.0, 0.0, 0.0])
    expected = F.binary_cross_entropy(logit.sigmoid(), label, reduction="sum")
    assert exit_method(name).loss(logit, label).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["softmax", "margin", "entropy"])
def test_a_computed_signal_is_its_label(name: str, seen: Observation, classifier: ExitClassifier) -> None:
    method = exit_method(name)
    assert torch.equal(method.signal(seen, classifier), method.label(seen))


def test_saturation_is_the_cosine_of_what_entered_and_what_came_out(
    seen: Observation, classifier: ExitClassifier
) -> None:
    signal = exit_method("saturation").signal(seen, classifier)
    lengths = seen.entered.norm(dim=1) * seen.output.norm(dim=1)
    torch.testing.assert_close(2 * signal - 1, (seen.entered * seen.output).sum(1) / lengths)


def test_gain_is_fitted_to_the_loss_that_the_next_block_saves_by_least_squares(seen: Observation) -> None:
    method = exit_method("gain")
    gain = seen.known.cross_entropy - seen.later[0].cross_entropy
    assert gain.abs().max() < 8
    label = method.label(seen)
    torch.testing.assert_close(label, (-gain).sigmoid())
    logit = normal(9, TOKENS)
    torch.testing.assert_close(method.loss(logit, label), ((logit + gain) ** 2).sum())


def test_agree_is_fitted_to_the_last_block_s_guess(seen: Observation) -> None:
    label = exit_method("agree").label(seen)
    assert label.tolist() == [
        float(a == b) for a, b in zip(seen.known.prediction, seen.later[1].prediction, strict=True)
    ]


def test_the_oracle_s_signal_reaches_a_half_where_no_later_block_does_better(
    seen: Observation, classifier: ExitClassifier
) -> None:
    signal = exit_method("oracle").signal(seen, classifier)
    best = torch.stack([block.cross_entropy for block in (seen.known, *seen.later)]).argmin(0)
    assert (signal >= 0.5).tolist() == (best == 0).tolist()


def test_the_random_signal_is_uniform_and_depends_on_seed_block_and_token_alone(classifier: ExitClassifier) -> None:
    tokens, method = torch.arange(20_000), exit_method("random")
    nothing = torch.zeros(20_000, 1)
    seen = Observation(nothing, nothing, nothing, tokens, 0, 42)
    signal = method.signal(seen, classifier)
    assert torch.histc(signal, bins=10, min=0, max=1).min() > 1800
    assert abs(torch.corrcoef(torch.stack([signal[:-1], signal[1:]]))[0, 1]) < 0.03
    for other in (replace(seen, block=1), replace(seen, seed=43)):
        assert abs(torch.corrcoef(torch.stack([signal, method.signal(other, classifier)]))[0, 1]) < 0.03
    assert torch.equal(method.signal(replace(seen, hidden=nothing + 1), classifier), signal)


def test_uniform_numbers_are_the_published_generator_s() -> None:
    """SplitMix64 in Python's own integers."""

    def mixed(bits: int) -> int:
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    key = stream(7, "a", 1).initial_seed()
    expected = [(mixed((position * 0x9E3779B97F4A7C15 + key) % 2**64) >> 11) / 2**53 for position in range(50)]
    assert uniform(torch.arange(50), 7, "a", 1).tolist() == expected
