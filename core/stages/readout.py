"""Readout stage: train one exit's readout of a frozen model, on states from the cache.

An affine readout starts from the map that predicts the last block's states best by least squares, found in one pass
over the states without the head. Then AdamW trains any readout on the next token or on the last block's distribution.

Shapes: N windows, T tokens of a window, D model width, V vocabulary size; n tokens of a batch.
"""

import math
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from core import costs
from core.backbones.model import PretrainedModel
from core.backbones.readouts import AffineReadout, Readout
from core.backbones.state_cache import StateCache
from core.config.run_config import RunConfig
from core.data.batches import shuffled
from core.errors import DivergedError
from core.events import Epoch, Event, StageStarted, Step
from core.head.divergence import linear_divergence
from core.head.loss import linear_cross_entropy, token_statistics
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.parallel.world import world
from core.rng import stream
from core.stages.least_squares import LeastSquares, inverse_length, with_constant
from core.stages.splits import split_windows
from core.stages.trainer import Weights, rate_factor

RIDGE = 1e-3
"""Share of the mean variance that is added to every direction's, so that rare directions do not dominate."""


def train_readout(
    model: Transformer,
    block: int,
    cache: StateCache,
    targets: Tensor,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Weights]:
    """Train a block's readout with early stopping on the cross-entropy, and load the best epoch's weights.

    Args:
        cache: states of the windows; the first ones are those of `targets`.
        targets: ids of the next tokens, int64 `[N, T]`.

    Returns:
        The readout's weights, by their names in the model.

    Raises:
        DivergedError: the loss is not finite.
    """
    assert isinstance(model, PretrainedModel), "no other has readouts to train"
    training = _Training(model, block, cache, targets, config, stage, clock)
    yield StageStarted(
        stage, "lm", block, config.train.max_epochs, training.steps, training.tokens, flops=training.step_flops
    )
    with clock.part("set-up"):
        training.begin()
        world().require_same(f"{stage}, {training.steps} steps, {training.tokens} tokens")
    best, best_loss, best_epoch = training.copies(), math.inf, 0
    for epoch in range(1, config.train.max_epochs + 1):
        began, total = time.perf_counter(), 0.0
        batches = shuffled(training.windows, config.train.batch_size, stream(config.seed, stage, "batches", epoch))
        for step, windows in enumerate(batches, start=1):
            step_began = time.perf_counter()
            loss = training.step(windows)
            tokens = len(windows) * targets.shape[1]
            if not math.isfinite(loss):
                raise DivergedError(f"{stage} diverged in epoch {epoch}: the loss is not finite; lower train.lr")
            total += loss
            yield Step(stage, epoch, step, loss / tokens, tokens, time.perf_counter() - step_began)
        with clock.part("validation"):
            val_loss = training.validation_loss()
        if improved := val_loss < best_loss:
            best, best_loss, best_epoch = training.copies(), val_loss, epoch
        left, seconds = config.train.patience - (epoch - best_epoch), time.perf_counter() - began
        yield Epoch(stage, epoch, total / training.tokens, val_loss, None, None, improved, left, seconds)
        if left == 0:
            break
    model.load_state_dict(best, strict=False)
    return best


class _Training:
    """A readout, its windows, and its optimizer."""

    def __init__(
        self,
        model: PretrainedModel,
        block: int,
        cache: StateCache,
        targets: Tensor,
        config: RunConfig,
        stage: str,
        clock: Clock,
    ) -> None:
        self.model, self.block, self.cache, self.targets, self.config, self.clock = (
            model, block, cache, targets, config, clock,
        )  # fmt: skip
        self.device, self.last = targets.device, len(model.blocks) - 1
        self.windows, self.held_out = split_windows(len(targets), config, stage, self.device)
        self.steps, self.tokens = -(-len(self.windows) // config.train.batch_size), self.windows.numel() * cache.seq_len
        self.weights = model.readout_weights(block)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=config.train.lr, weight_decay=config.train.weight_decay, fused=True
        )
        self.taken = 0
        self.distils = config.train.readout_target == "last" and block < self.last
        head = costs.head_flops(config.model, len(model.head.weight))
        matmuls = 2 + self.distils + model.head_weight(block).requires_grad  # logits, gradients, the teacher's logits
        self.step_flops = float(matmuls * head + costs.TRAINING * costs.readout_flops(config.model, block))

    def begin(self) -> None:
        """Start an affine readout from least squares, aimed at what the last block's readout, trained before, says."""
        readout, last = self.model.readouts[self.block], cast(Readout, self.model.readouts[self.last])
        if isinstance(readout, AffineReadout) and self.block < self.last:
            aim = partial(self._mapped, last)
            fit_affine(readout, self.cache, self.block, self.last, self.windows, aim)

    def _mapped(self, readout: Readout, states: Tensor) -> Tensor:
        """Return what a readout makes of states before its norm, `[n, D]` to `[n, D]`, on the CPU."""
        return readout.map(states.to(self.device)).cpu()

    def step(self, windows: Tensor) -> float:
        """Take one optimizer step on those windows; return the summed loss.

        Each of several processes runs its part of the windows; their gradients and losses are added up.
        """
        tokens, rows = windows.numel() * self.cache.seq_len, world().rows(len(windows))
        windows = windows[rows.own]
        with self.clock.part("data"):
            states, targets = self._states(self.block, windows), self.targets[windows].flatten()  # [n, D], [n]
        with self.clock.part("head", self.step_flops * len(targets)):
            hidden, weight = self.model.readout(self.block, states), self.model.head_weight(self.block)
            if self.distils:
                with torch.no_grad():
                    teacher = self.model.readout(self.last, self._states(self.last, windows))
                loss, _ = linear_divergence(hidden, weight, teacher, self.model.head_weight(self.last).detach())
            else:
                loss, _ = linear_cross_entropy(hidden, weight, targets, self.config.train.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        with self.clock.part("backward"):
            (loss / tokens if rows.weight else 0 * loss).backward()
        (summed,) = world().total([loss.item() * rows.weight])
        world().add_up(self.weights.values())
        with self.clock.part("optimizer"):
            nn.utils.clip_grad_norm_(self.weights.values(), self.config.train.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.train.lr * rate_factor(self.taken, self.steps, self.config)
            self.optimizer.step()
        self.taken += 1
        return summed

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the mean cross-entropy over the early-stopping windows, nats."""
        total, own = 0.0, world().part(self.held_out)
        for windows in own.split(self.cache.windows_at_once) if len(own) else ():
            hidden = self.model.readout(self.block, self._states(self.block, windows))
            found = token_statistics(hidden, self.model.head_weight(self.block), self.targets[windows].flatten())
            total += float(found.cross_entropy.cpu().double().sum())
        (total,) = world().total([total])
        return total / (len(self.held_out) * self.cache.seq_len)

    def copies(self) -> Weights:
        """Return a copy of the readout's weights."""
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    def _states(self, block: int, windows: Tensor) -> Tensor:
        return self.cache.states(block, windows).to(self.device)


@torch.no_grad()
def fit_affine(
    readout: AffineReadout,
    cache: StateCache,
    block: int,
    last: int,
    windows: Tensor,
    aim: Callable[[Tensor], Tensor] = lambda states: states,
) -> None:
    """Set a residual map to the least-squares prediction of the last block's states, `h + A h + b ≈ aim(h_last)`.

    Both are divided by the length of the token's own state, as the norm behind the map sees directions only: without
    it the few tokens with huge states would decide alone. A few windows are read at a time.

    Args:
        aim: map of the last block's states, `[n, D]` to `[n, D]`, such as that of its own readout.
    """
    fit = LeastSquares()
    for some in windows.split(cache.windows_at_once):
        states, wanted = cache.states(block, some), aim(cache.states(last, some))  # [n, D]
        weight, goal = inverse_length(states), wanted * inverse_length(wanted)  # [n, 1], [n, D]
        fit.add(with_constant(states) * weight, goal - states * weight)
    solved = fit.solve(RIDGE).float()  # [D + 1, D]
    readout.linear.weight.copy_(solved[:-1].T)
    readout.linear.bias.copy_(solved[-1])
