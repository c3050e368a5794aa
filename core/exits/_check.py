"""The contract of exit methods, tried out: what a method says of itself, and what it returns on a few made-up tokens.

The built-in methods are held to it by a test, users' own when they are loaded.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.exits._contract import ComputedExit, ExitMethod, Observation
from core.exits._facts import CLAIMS
from core.extensions.kinds import EXIT_METHODS
from core.head.loss import token_statistics
from core.head.token_statistics import ALL_EXTRAS, Extras
from core.model import ExitClassifier

TOKENS, DIM, WORDS = 17, 8, 30
CHOSEN = (16, 2, 5)
"""Tokens that are asked for alone."""
SAVED = (0.3, 0.6)
"""Cost that leaving at the first of the three blocks saves, against each later one."""
STEP = 1e-4
"""Length of the step down the gradient of a loss."""


class BrokenContractError(Exception):
    """A method does not keep the contract.

    Attributes:
        part: the attribute or function that it is about.
        reason: what is wrong; reads on after the part.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part} {reason}")
        self.part, self.reason = part, reason


def check(method: object) -> ExitMethod:
    """Hold a method to the contract, and return it; all is computed in float64, and no global random state moves.

    Raises:
        BrokenContractError: it breaks the contract; what a function of its own raised is the cause.
    """
    if not isinstance(method, ExitMethod):
        raise BrokenContractError(
            "EXIT", f"must be an instance of a subclass of ExitMethod, such as Mine(), got {method!r:.60}"
        )
    _check_attributes(method)
    seen, classifier = example(method.extras), example_classifier(method)
    _check_label(method, seen)
    _check_signal(method, seen, classifier)
    if method.learns and not method.predicts_gains:
        _check_loss(method, seen, classifier)
    if method.claims == "gain":
        _check_claimed_gain(method)
    return method


def example(extras: Extras) -> Observation:
    """Made-up tokens of which all is known: three blocks, the last of which agrees with the first on some.

    Every third target is the first block's most probable word.
    """
    weight, hidden, numbers = normal(2, WORDS, DIM), normal(1, TOKENS, DIM), torch.arange(TOKENS)
    targets = torch.where(numbers % 3 == 0, (hidden @ weight.T).argmax(1), numbers)
    later = normal(5, TOKENS, DIM), hidden + normal(6, TOKENS, DIM)
    return Observation(
        hidden=hidden,
        output=normal(3, TOKENS, DIM),
        entered=normal(4, TOKENS, DIM),
        tokens=numbers * 3,
        block=0,
        seed=42,
        statistics=token_statistics(hidden, weight, targets, extras),
        later=tuple(token_statistics(states, weight, targets) for states in later),
        saved=SAVED,
    )


def example_classifier(method: ExitMethod | None = None) -> ExitClassifier:
    """Return an exit classifier for the example's states, with weights that are not 0."""
    with torch.random.fork_rng(devices=[]):
        classifier = ExitClassifier(DIM, len(SAVED) if method and method.predicts_gains else 1).double()
    with torch.no_grad():
        for number, parameter in enumerate(classifier.parameters()):
            parameter.copy_(normal(7 + number, *parameter.shape) / 2)
    return classifier


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal values, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(seen: Observation, tokens: Tensor) -> Observation:
    """Return the observation of some of the tokens."""
    return replace(
        seen,
        hidden=seen.hidden[tokens],
        output=seen.output[tokens],
        entered=seen.entered[tokens],
        tokens=seen.tokens[tokens],
        statistics=seen.known[tokens],
        later=tuple(block[tokens] for block in seen.later),
    )


def _check_attributes(method: ExitMethod) -> None:
    for flag in ("learns", "reads_head", "needs_later", "foresees", "predicts_gains"):
        value = getattr(method, flag, None)
        _require(isinstance(value, bool), flag, f"must be True or False, got {value!r}")
    _require(method.claims in CLAIMS, "claims", f"must be one of {', '.join(CLAIMS)}, got {method.claims!r}")
    known = isinstance(method.extras, frozenset) and method.extras <= ALL_EXTRAS
    _require(known, "extras", f"must be a frozenset of {', '.join(sorted(ALL_EXTRAS))}, got {method.extras!r}")
    _require(not (method.extras and method.learns), "extras", "must be empty where learns is True")
    _require(method.needs_later or not method.foresees, "needs_later", "must be True where foresees is")
    stand_ins = [name for name in EXIT_METHODS.built_in if not EXIT_METHODS.declared(name)["needs_later"]]
    _require(
        method.stand_in in stand_ins, "stand_in", f"must be one of {', '.join(stand_ins)}, got {method.stand_in!r}"
    )


def _check_label(method: ExitMethod, seen: Observation) -> None:
    part = "value" if isinstance(method, ComputedExit) else "label"
    label = _values(part, lambda: method.label(seen))
    needed = not _same(label, lambda: method.label(replace(seen, later=())))
    _require_flag("needs_later", method.needs_later, needed, part, "the later blocks' statistics")


@torch.no_grad()
def _check_signal(method: ExitMethod, seen: Observation, classifier: ExitClassifier) -> None:
    def ask(seen: Observation) -> Callable[[], Tensor]:
        return lambda: method.signal(seen, classifier)

    part = "value" if isinstance(method, ComputedExit) else "signal"
    signal = _values(part, ask(seen))
    for flag, declared, less, what in (
        ("reads_head", method.reads_head, replace(seen, statistics=None), "the head's statistics"),
        ("foresees", method.foresees, replace(seen, later=()), "the later blocks' statistics"),
    ):
        _require_flag(flag, declared, not _same(signal, ask(less)), part, what)
    chosen = torch.tensor(CHOSEN)
    alone = _called(part, ask(some(seen, chosen)))
    same = alone.shape == chosen.shape and torch.allclose(alone, signal[chosen])
    _require(same, part, "must be the same for a token whichever others are asked for with it")


def _check_loss(method: ExitMethod, seen: Observation, classifier: ExitClassifier) -> None:
    hidden, label = seen.hidden, method.label(seen)

    def loss(part: slice = slice(None)) -> Tensor:
        return _called("loss", lambda: method.loss(classifier(hidden[part]), label[part]))

    whole = loss()
    _require(whole.shape == (), "loss", f"must be one number, summed over tokens, got shape {list(whole.shape)}")
    _require(bool(whole.isfinite()), "loss", "must be finite")
    parts = loss(slice(0, 5)) + loss(slice(5, None))
    _require(torch.allclose(whole, parts), "loss", "must be a sum over tokens: those of two parts must add up to it")
    _require(whole.requires_grad, "loss", "must be differentiable in the logit")
    slopes = torch.autograd.grad(whole, list(classifier.parameters()), allow_unused=True)
    length = sum(float(slope.square().sum()) for slope in slopes if slope is not None) ** 0.5
    with torch.no_grad():
        for parameter, slope in zip(classifier.parameters(), slopes, strict=True):
            if slope is not None and length:
                parameter.sub_(STEP * slope / length)
        _require(bool(loss() < whole), "loss", "must fall along its gradient")


def _check_claimed_gain(method: ExitMethod) -> None:
    signal = torch.linspace(0, 1, 101, dtype=torch.float64)
    gain = _called("claimed_gain", lambda: method.claimed_gain(signal))
    fits = gain.shape == signal.shape and bool(gain.isfinite().all()) and bool((gain.diff() <= 0).all())
    _require(fits, "claimed_gain", "must be finite nats, one for each signal, that never rise as the signal does")


def _values(part: str, ask: Callable[[], Tensor]) -> Tensor:
    """Check that a call gives one number in [0, 1] per token, and the same when repeated."""
    values = _called(part, ask)
    _require(
        values.shape == (TOKENS,), part, f"must be of shape [N], one a token: [{TOKENS}], got {list(values.shape)}"
    )
    reason = "must have the states' dtype: end it with .to(observation.hidden.dtype)"
    _require(values.dtype == torch.float64, part, f"{reason}; got {values.dtype} for float64")
    _require(bool(values.isfinite().all()), part, "must be finite")
    low, high = float(values.min()), float(values.max())
    _require(low >= 0 and high <= 1, part, f"must be in [0, 1], got {low:.4g} to {high:.4g}")
    again = _called(part, ask)
    _require(torch.equal(again, values), part, "must be the same when asked twice: draw with core.rng.uniform")
    return values


def _called(part: str, ask: Callable[[], Any]) -> Tensor:
    """Call a function of the method; it must return a tensor."""
    try:
        values = ask()
    except Exception as error:
        raise BrokenContractError(part, f"raises {type(error).__name__}: {error}") from error
    _require(isinstance(values, Tensor), part, f"must return a tensor, got {type(values).__name__}")
    tensor: Tensor = values
    return tensor


def _same(values: Tensor, ask: Callable[[], Tensor]) -> bool:
    """Whether a function that is told less returns the same."""
    try:
        return torch.equal(ask(), values)
    except Exception:
        return False


def _require_flag(flag: str, declared: bool, needed: bool, part: str, what: str) -> None:
    reason = f"must be {needed}: {part} {'needs' if needed else 'does without'} {what}"
    _require(declared == needed, flag, reason)


def _require(holds: bool, part: str, reason: str) -> None:
    if not holds:
        raise BrokenContractError(part, reason)
