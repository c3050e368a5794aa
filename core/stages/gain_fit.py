"""Fit of a gain exit: predict the loss that each later block saves, as well as leaving by it needs.

The classifier is a ridge regression in closed form, or a small MLP. Wherever its predictions are judged or a price is
sought, those of a token come from a fit to other parts of the text (out of fold), so that promises hold on new text.
The ridge is the one whose decisions cost least, at prices over their whole range and given the later exits: the one of
least squared error fits noise that decides. Where none beats leaving all tokens alike, the classifier predicts the mean
gains, and the exit becomes the best fixed depth.

Shapes: n tokens, D model width, L later blocks, P prices.
"""

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.derived import HIDDEN_WIDTH
from core.config.run_config import RunConfig
from core.events import Epoch, Event, StageStarted, Step
from core.exits import exit_method
from core.exits._contract import Observation
from core.exits.gain import realised_gains
from core.formulas import price_signal
from core.head.token_statistics import mean64
from core.machine.clock import UNPROFILED, Clock
from core.model import ExitClassifier, Transformer
from core.rng import stream
from core.stages.statistics import BlockOutput, observe
from core.stages.trainer import Weights

FOLDS = 4
"""Parts of the text; each is predicted by a fit to the others."""
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Penalties on the squared weights of standardised states, per token."""
PRICES, CHEAPEST, DEAREST = 9, 1 / 16, 4.0
"""Prices at which decisions are judged, at equal ratios, in units of what all later depth saves for its cost."""
SMALLEST_PRICE = 0.01
"""Nats; unit of these prices where later depth saves less for its cost, or nothing."""
SMALLEST_DEVIATION = 1e-6
MLP_BATCH, MLP_RATE, MLP_DECAY, MLP_DROPOUT = 512, 2e-3, 0.1, 0.2
MLP_EPOCHS, MLP_STEPS = 3, 360
"""Epochs of the MLP, and the fewest steps: small sets of tokens are gone through more often."""


def fit_gains(
    model: Transformer,
    block: int,
    output: BlockOutput,
    later_signals: Sequence[Tensor],
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Weights]:
    """Fit `model.classifiers[block]` to the gains of all later blocks, on the stored states of the block.

    Args:
        output: with the statistics of all later blocks; no token has left.
        later_signals: out-of-fold signals of the later exits on the same tokens, `[n]` each (`held_out_signal`).

    Returns:
        The classifier's weights by their names in the model, and the out-of-fold signal.
    """
    with clock.part("data"):
        seen = observe(model, block, output, config)
        problem = _Problem.of(seen, later_signals, output.targets.shape[1])
    label = mean64(exit_method(config.method).label(seen))
    fits: list[Fit] = [_constant, *(partial(_ridge, penalty) for penalty in RIDGES)]
    if config.exit.classifier == "mlp":
        fits = [_constant, partial(_mlp, config.seed, stage)]
    yield StageStarted(stage, "exit classifier", block, len(fits), 1, len(seen.hidden))
    least = 0.0
    for epoch, fit in enumerate(fits, start=1):
        began = time.perf_counter()
        with clock.part("optimizer"):
            gains = problem.out_of_fold(fit)
            signal = problem.signal(gains)
            cost = problem.cost(signal)
        if improved := epoch == 1 or cost < least:
            best, least, best_signal = fit, min(cost, least), signal
        error, seconds = float(F.mse_loss(gains, problem.training.gains)), time.perf_counter() - began
        yield Step(stage, epoch, 1, error, len(gains), seconds)
        yield Epoch(stage, epoch, error, None, error, label, improved, None, seconds)
    _load(model.classifier(block), best(problem.training), problem)
    return model.classifier_weights(block) | {_signal_name(block): best_signal}


def held_out_signal(weights: Weights, block: int) -> Tensor:
    """Return the out-of-fold signal of a fitted gain exit, float32 `[n]`, from what `fit_gains` returned."""
    return weights[_signal_name(block)]


def _signal_name(block: int) -> str:
    return f"held_out_signal.{block}"


@dataclass(frozen=True, eq=False)
class _Problem:
    """Tokens to fit and to judge on, in float64 on the CPU.

    Attributes:
        training: all of them, with states standardised by `mean` and `deviation`, `[D]` each.
        folds: parts of the text, each with the other tokens to fit to.
        saved: cost that leaving saves against each later block, `[L]`.
        prices: `[P]`.
        leaving, going_on: nats and price that a token pays if it leaves, and if it follows the later exits, `[P, n]`.
    """

    training: "_Training"
    mean: Tensor
    deviation: Tensor
    folds: tuple[tuple[slice, "_Training"], ...]
    saved: Tensor
    prices: Tensor
    leaving: Tensor
    going_on: Tensor

    @staticmethod
    def of(seen: Observation, later_signals: Sequence[Tensor], width: int) -> "_Problem":
        """Return the problem of a block's exit.

        Args:
            width: tokens of a window; no fold cuts one.
        """
        hidden, gains = seen.hidden.detach().cpu().double(), realised_gains(seen).cpu().double()
        mean, deviation = hidden.mean(0), hidden.std(0).nan_to_num().clamp(min=SMALLEST_DEVIATION)
        training = _Training((hidden - mean) / deviation, gains)
        edges = [number * (len(hidden) // width) // FOLDS * width for number in range(FOLDS + 1)]
        parts = [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]
        folds = tuple((part, training.without(part)) for part in parts)

        losses = [block.cross_entropy.cpu().double() for block in (seen.known, *seen.later)]
        saved = gains.new_tensor(seen.saved)
        unit = max(float(gains[:, -1].mean() / saved[-1]), SMALLEST_PRICE)
        prices = unit * torch.logspace(math.log2(CHEAPEST), math.log2(DEAREST), PRICES, base=2, dtype=torch.float64)
        costs_above = torch.cat((saved.new_zeros(1), saved))  # of each block, above leaving here, [L + 1]
        pays = torch.stack(losses)[:, None] + (costs_above[:, None] * prices)[..., None]  # [L + 1, P, n]
        going_on = pays[-1]
        for signal, leaving in zip(reversed(later_signals), pays[1:-1].flip(0), strict=True):
            going_on = torch.where(_leaves(signal.cpu(), prices), leaving, going_on)
        return _Problem(training, mean, deviation, folds, saved, prices, pays[0], going_on)

    def out_of_fold(self, fit: "Fit") -> Tensor:
        """Return predictions of the gains `[n, L]`, each from a fit to the other folds."""
        return torch.cat([fit(others)(self.training.states[fold]) for fold, others in self.folds])

    def signal(self, gains: Tensor) -> Tensor:
        """Return the signals of predicted gains `[n, L]`, float32 `[n]`."""
        return price_signal((gains / self.saved).amax(1)).float()

    def cost(self, signal: Tensor) -> float:
        """Mean nats that deciding by a signal costs, less those of leaving all tokens alike, over tokens and prices."""
        decided = torch.where(_leaves(signal, self.prices), self.leaving, self.going_on)  # [P, n]
        alike = torch.minimum(self.leaving.mean(1), self.going_on.mean(1))  # [P]
        return float((decided.mean(1) - alike).mean())


@dataclass(frozen=True, eq=False)
class _Training:
    """Tokens that a classifier is fitted to: standardised states `[n, D]` and gains `[n, L]`."""

    states: Tensor
    gains: Tensor

    def without(self, part: slice) -> "_Training":
        """Return all tokens but a part; all, if the part is everything."""
        if part.stop - part.start == len(self.states):
            return self
        kept = (slice(0, part.start), slice(part.stop, None))
        return _Training(*(torch.cat([values[each] for each in kept]) for values in (self.states, self.gains)))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean state `[D]`, eigenvalues `[D]` and vectors `[D, D]` of the covariance, and covariance with the gains.

        The last is `[D, L]`, in the basis of the eigenvectors.
        """
        mean = self.states.mean(0)
        centred = self.states - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        return mean, values, vectors, vectors.T @ (centred.T @ (self.gains - self.gains.mean(0))) / len(centred)


Fit = Callable[[_Training], nn.Module]
"""A way to fit: a map from standardised states `[n, D]` to gains `[n, L]`."""


def _constant(training: _Training) -> nn.Module:
    """Fit the mean gains alone."""
    gains = training.gains.mean(0)
    return _linear(gains.new_zeros(len(gains), training.states.shape[1]), gains)


def _ridge(penalty: float, training: _Training) -> nn.Module:
    """Fit a ridge regression whose intercept is free (Hoerl and Kennard 1970)."""
    mean, values, vectors, cross = training.moments
    weight = (vectors @ (cross / (values + penalty)[:, None])).T  # [L, D]
    return _linear(weight, training.gains.mean(0) - weight @ mean)


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], dtype=weight.dtype)
    linear.weight.data, linear.bias.data = weight, bias
    linear.requires_grad_(False)
    return linear


def _mlp(seed: int, stage: str, training: _Training) -> nn.Module:
    """Fit one hidden layer by AdamW with dropout, at a learning rate that falls to 0 linearly."""
    states, gains, generator = training.states.float(), training.gains.float(), stream(seed, stage, "mlp")
    first = nn.utils.skip_init(nn.Linear, states.shape[1], HIDDEN_WIDTH)
    last = nn.utils.skip_init(nn.Linear, HIDDEN_WIDTH, gains.shape[1])
    with torch.no_grad():
        for linear in (first, last):
            bound = linear.in_features**-0.5
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.zero_()
        last.bias.copy_(gains.mean(0))
    parameters = [*first.parameters(), *last.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=MLP_RATE, weight_decay=MLP_DECAY)
    batches = -(-len(states) // MLP_BATCH)
    epochs, taken = max(MLP_EPOCHS, -(-MLP_STEPS // batches)), 0
    for _ in range(epochs):
        for batch in torch.randperm(len(states), generator=generator).split(MLP_BATCH):
            hidden = F.silu(first(states[batch]))
            kept = torch.empty_like(hidden).bernoulli_(1 - MLP_DROPOUT, generator=generator) / (1 - MLP_DROPOUT)
            loss = F.mse_loss(last(hidden * kept), gains[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = MLP_RATE * (1 - taken / (epochs * batches))
            optimizer.step()
            taken += 1
    fitted = nn.Sequential(first, nn.SiLU(), last).double()
    fitted.requires_grad_(False)
    return fitted


def _leaves(signal: Tensor, prices: Tensor) -> Tensor:
    """Return which tokens leave at each price, bool `[P, n]`."""
    return signal.double() >= price_signal(prices)[:, None]


@torch.no_grad()
def _load(classifier: ExitClassifier, fitted: nn.Module, problem: _Problem) -> None:
    """Give a classifier the fitted weights, with the states' standardisation in its first layer."""
    layers = [module for module in fitted.modules() if isinstance(module, nn.Linear)]
    weight = layers[0].weight / problem.deviation
    bias = layers[0].bias - weight @ problem.mean
    own = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
    if len(layers) < len(own):  # the mean gains alone, whatever the hidden layer says
        own[-1].weight.zero_()
        own[-1].bias.copy_(bias)
        return
    own[0].weight.copy_(weight)
    own[0].bias.copy_(bias)
    for mine, other in zip(own[1:], layers[1:], strict=True):
        mine.load_state_dict(other.state_dict())
