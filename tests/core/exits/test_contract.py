"""The contract that every file in `core/exits/` keeps, found by listing the folder."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.config.run_config import method_names
from core.exits import exit_method, first_method
from core.exits._check import TOKENS, WORDS, BrokenContractError, check, example, example_classifier, normal
from core.exits._contract import ComputedExit, ExitMethod, LearnedExit, Observation
from core.exits._facts import CLAIMS, declared_facts
from core.extensions.kinds import EXIT_METHODS
from core.formulas import price_signal, signal_price
from core.head.token_statistics import ALL_EXTRAS
from core.model import ExitClassifier
from core.rng import stream, uniform

LABELS = {
    "distill": lambda p, targets: p.max(1).values,
    "softmax": lambda p, targets: p.max(1).values,
    "loss": lambda p, targets: p[torch.arange(TOKENS), targets],
    "correct": lambda p, targets: (p.argmax(1) == targets).double(),
    "margin": lambda p, targets: p.sort(1).values[:, -1] - p.sort(1).values[:, -2],
    "entropy": lambda p, targets: 1 + (p * p.log()).sum(1) / torch.tensor(float(WORDS)).double().log(),
}
every_method = pytest.mark.parametrize("method", [exit_method(name) for name in method_names()], ids=method_names())


@pytest.fixture
def weight() -> Tensor:
    return normal(2, WORDS, 8)


@pytest.fixture
def targets(weight: Tensor) -> Tensor:
    """Some the most probable word, some not."""
    return torch.where(torch.arange(TOKENS) % 3 == 0, (normal(1, TOKENS, 8) @ weight.T).argmax(1), torch.arange(TOKENS))


@pytest.fixture
def seen() -> Observation:
    return example(ALL_EXTRAS)


@pytest.fixture
def classifier(request: pytest.FixtureRequest) -> ExitClassifier:
    """An exit classifier, of the tested method if there is one."""
    tested = request.getfixturevalue("method") if "method" in request.fixturenames else None
    return example_classifier(tested)


def name_of(method: ExitMethod) -> str:
    return type(method).__module__.rpartition(".")[2]


def test_every_file_without_an_underscore_is_a_method_and_the_usual_ones_are_there() -> None:
    files = {path.stem for path in EXIT_METHODS.folder.iterdir() if path.suffix == ".py" and path.name[0] != "_"}
    assert set(method_names()) == files
    assert files >= {"distill", "loss", "softmax", "correct"}
    assert files >= {"margin", "entropy", "saturation", "gain", "agree", "random", "oracle"}


def test_an_unknown_method_is_a_key_error() -> None:
    for name in ("nonsense", "_contract"):
        with pytest.raises(KeyError):
            exit_method(name)


@every_method
def test_every_method_keeps_the_contract(method: ExitMethod) -> None:
    assert check(method) is method


@every_method
def test_what_a_method_says_of_itself_is_known_without_importing_it(method: ExitMethod) -> None:
    facts = declared_facts(name_of(method))
    assert (facts.reads_head, facts.claims, facts.learns) == (method.reads_head, method.claims, method.learns)
    assert facts.label == name_of(method)


@every_method
def test_a_stand_in_decides_before_the_later_blocks_are_trained(method: ExitMethod) -> None:
    assert not exit_method(method.stand_in).needs_later
    assert first_method(name_of(method)) is (exit_method(method.stand_in) if method.needs_later else method)


@every_method
def test_label_and_signal_tell_tokens_apart(method: ExitMethod, seen: Observation, classifier: ExitClassifier) -> None:
    assert method.label(seen).unique().numel() > 1
    assert method.signal(seen, classifier).unique().numel() > 1


@every_method
def test_what_a_method_does_not_count_on_is_an_assertion(
    method: ExitMethod, seen: Observation, classifier: ExitClassifier
) -> None:
    blind, short_sighted = replace(seen, statistics=None), replace(seen, later=())
    asked: list[tuple[bool, Callable[[], Tensor]]] = [
        (method.reads_head, lambda: method.signal(blind, classifier)),
        (method.foresees, lambda: method.signal(short_sighted, classifier)),
        (method.needs_later, lambda: method.label(short_sighted)),
    ]
    for needs, ask in asked:
        if needs:
            with pytest.raises(AssertionError):
                ask()


@every_method
def test_a_method_that_learns_nothing_has_no_loss_and_one_that_claims_no_gain_none_of_that(
    method: ExitMethod, seen: Observation, classifier: ExitClassifier
) -> None:
    if not method.learns:
        with pytest.raises(TypeError, match="learns nothing"):
            method.loss(classifier(seen.hidden), method.label(seen))
    if method.claims != "gain":
        with pytest.raises(TypeError, match="claims no gain"):
            method.claimed_gain(method.label(seen))


class Sound(LearnedExit):
    """Keeps the contract; the broken methods differ from it in one thing each."""

    claims = "p(target)"

    def label(self, observation: Observation) -> Tensor:
        return (-observation.known.cross_entropy).exp()


def broken(**parts: object) -> ExitMethod:
    """A sound method with some of its attributes and functions replaced."""
    return type("Broken", (Sound,), parts)()  # type: ignore[no-any-return]


def noise(like: Tensor) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype)


def alone_otherwise(method: ExitMethod, seen: Observation, classifier: ExitClassifier) -> Tensor:
    """A signal that depends on which other tokens are asked for with it."""
    return (seen.hidden[:, 0] - seen.hidden[:, 0].mean()).sigmoid()


BROKEN: dict[str, tuple[object, str]] = {
    "no method": (object(), "EXIT must be an instance of a subclass of ExitMethod"),
    "a class": (Sound, "EXIT must be an instance of a subclass of ExitMethod, such as Mine(), got <class"),
    "a flag that is none": (broken(learns=1), "learns must be True or False, got 1"),
    "a claim that is none": (broken(claims="certainty"), f"claims must be one of {', '.join(CLAIMS)}, got 'certainty'"),
    "unknown extras": (broken(extras=frozenset({"variance"})), "extras must be a frozenset of entropy, margin, got"),
    "extras that are a list": (broken(extras=["margin"]), "extras must be a frozenset"),
    "extras in training": (broken(extras=frozenset({"margin"})), "extras must be empty where learns is True"),
    "foresight too early": (broken(foresees=True), "needs_later must be True where foresees is"),
    "an unknown stand-in": (broken(needs_later=True, stand_in="mine"), "stand_in must be one of correct, distill, "),
    "a stand-in that waits itself": (broken(stand_in="gain"), "stand_in must be one of correct, distill, "),
    "a label of another shape": (broken(label=lambda self, seen: seen.hidden), r"label must be of shape [N], one a to"),
    "a label that is no tensor": (broken(label=lambda self, seen: 0.5), "label must return a tensor, got float"),
    "a label of another dtype": (
        broken(label=lambda self, seen: seen.known.max_prob.float()),
        "label must have the states' dtype: end it with .to(observation.hidden.dtype); got torch.float32",
    ),
    "a label beyond 1": (broken(label=lambda self, seen: seen.known.cross_entropy), "label must be in [0, 1], got 0."),
    "a label that is no number": (
        broken(label=lambda self, seen: seen.known.max_prob * torch.nan),
        "label must be fin",
    ),
    "a random label": (
        broken(label=lambda self, seen: noise(seen.known.max_prob)),
        "label must be the same when asked",
    ),
    "a label that fails": (broken(label=lambda self, seen: 1 / 0), "label raises ZeroDivisionError: division by zero"),
    "a label from later blocks": (
        broken(label=lambda self, seen: seen.next.max_prob),
        "needs_later must be True: label needs the later blocks' statistics",
    ),
    "a wait for nothing": (broken(needs_later=True), "needs_later must be False: label does without the later blocks'"),
    "a signal beyond 1": (
        broken(signal=lambda self, seen, classifier: classifier(seen.hidden)),
        "signal must be in [0, 1], got -",
    ),
    "a signal that reads the head": (
        broken(signal=lambda self, seen, classifier: seen.known.max_prob),
        "reads_head must be True: signal needs the head's statistics",
    ),
    "a head that nobody reads": (broken(reads_head=True), "reads_head must be False: signal does without the head's"),
    "a signal that looks ahead": (
        broken(needs_later=True, label=lambda s, o: o.next.max_prob, signal=lambda s, o, c: o.next.max_prob),
        "foresees must be True: signal needs the later blocks' statistics",
    ),
    "a signal of all tokens together": (
        broken(signal=alone_otherwise),
        "signal must be the same for a token whichever others are asked for with it",
    ),
    "a loss for each token": (
        broken(loss=lambda self, logit, label: (logit - label) ** 2),
        "loss must be one number, summed over tokens, got shape [17]",
    ),
    "a mean loss": (broken(loss=lambda self, logit, label: F.mse_loss(logit, label)), "loss must be a sum over tokens"),
    "a loss without a gradient": (
        broken(loss=lambda self, logit, label: F.mse_loss(logit.detach(), label, reduction="sum")),
        "loss must be differentiable in the logit",
    ),
    "a loss that is flat": (
        broken(loss=lambda self, logit, label: (0 * logit).sum() + label.sum()),
        "loss must fall along its gradient",
    ),
    "a gain unsaid": (broken(claims="gain"), "claimed_gain raises TypeError: the broken exit claims no gain"),
    "a gain that rises with the signal": (
        broken(claims="gain", claimed_gain=lambda self, signal: signal),
        "claimed_gain must be finite nats, one for each signal, that never rise as the signal does",
    ),
    "an infinite gain": (broken(claims="gain", claimed_gain=lambda self, signal: -signal.logit()), "claimed_gain must"),
}


@pytest.mark.parametrize(("method", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_method_that_breaks_the_contract_is_told_what_and_why(method: object, reason: str) -> None:
    with pytest.raises(BrokenContractError) as caught:
        check(method)
    assert str(caught.value).startswith(reason)


def test_a_method_need_not_learn_or_read_the_head() -> None:
    class Early(ComputedExit):
        reads_head = False

        def value(self, observation: Observation) -> Tensor:
            return observation.hidden[:, 0].sigmoid()

    assert check(Early()).claims == "rank"
    assert check(Sound()).claims == "p(target)"


def test_checking_a_method_moves_no_random_state() -> None:
    before = torch.get_rng_state()
    check(Sound())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", sorted(LABELS))
def test_each_label_is_its_formula(name: str, seen: Observation, weight: Tensor, targets: Tensor) -> None:
    expected = LABELS[name]((seen.hidden @ weight.T).softmax(1), targets)
    torch.testing.assert_close(exit_method(name).label(seen), expected)


@pytest.mark.parametrize("name", ["distill", "loss", "correct", "agree"])
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


def test_gain_s_label_is_the_price_from_which_hindsight_would_leave(seen: Observation) -> None:
    method = exit_method("gain")
    gains = [seen.known.cross_entropy - later.cross_entropy for later in seen.later]
    assert max(gain.abs().max() for gain in gains) < 8
    price = torch.maximum(gains[0] / seen.saved[0], gains[1] / seen.saved[1])
    torch.testing.assert_close(signal_price(method.label(seen)), price)


def test_gain_s_signal_is_the_highest_price_at_which_a_later_block_is_worth_its_cost(seen: Observation) -> None:
    method = exit_method("gain")
    classifier = example_classifier(method)
    gains = classifier.outputs(seen.hidden)
    for price in (-2.0, 0.0, 0.1, 3.0):
        leaves = method.signal(seen, classifier) >= price_signal(price)
        worth = (gains > price * torch.tensor(seen.saved)).any(1)
        assert torch.equal(leaves, ~worth)
    with pytest.raises(TypeError, match="not to a label"):
        method.loss(normal(9, TOKENS), method.label(seen))


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
