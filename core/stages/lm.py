"""LM stage: train one block, or all blocks together, to predict the next token, with early stopping."""

import math
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from core import costs
from core.config.derived import Shares
from core.config.run_config import RunConfig
from core.data.batches import in_order, shuffled
from core.errors import DivergedError, NoHardTokensError
from core.events import Epoch, Event, StageStarted, Step
from core.head.loss import token_statistics
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.parallel.world import world
from core.rng import stream
from core.stages.block_data import BlockData
from core.stages.splits import split_windows
from core.stages.trainer import Sums, Trainer, Weights, observations


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a training between two epochs: all that the next epoch depends on.

    Attributes:
        epochs: reports of the finished epochs, in order.
        weights, best_weights: trained weights after the last epoch and after the best one.
        moments: optimizer state of each weight: `head.weight.exp_avg` and so on.
    """

    epochs: tuple[Epoch, ...]
    weights: Weights
    best_weights: Weights
    moments: Weights

    @property
    def best(self) -> Epoch | None:
        """Epoch with the lowest loss on the early-stopping split; None before the first."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.improved), None)

    @property
    def best_loss(self) -> float:
        """Loss of the best epoch on the early-stopping split, nats; infinite before the first."""
        return math.inf if self.best is None or self.best.val_loss is None else self.best.val_loss

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` epochs in a row brought no improvement."""
        return bool(self.epochs) and self.epochs[-1].patience_left == 0


def train_block(
    model: Transformer,
    block: int,
    data: BlockData,
    config: RunConfig,
    stage: str,
    progress: Progress | None = None,
    keep: Callable[[Progress], None] = lambda progress: None,
) -> Generator[Event, None, Weights]:
    """Train `model.blocks[block]` alone; see `train_blocks`."""
    weights = yield from train_blocks(model, {block: 1.0}, data, config, stage, progress, keep)
    return weights


def train_blocks(
    model: Transformer,
    shares: Shares,
    data: BlockData,
    config: RunConfig,
    stage: str,
    progress: Progress | None = None,
    keep: Callable[[Progress], None] = lambda progress: None,
    clock: Clock = UNPROFILED,
    leaving: Callable[[], Tensor] | None = None,
    token_bytes: Tensor | None = None,
    trainer_type: type[Trainer] = Trainer,
) -> Generator[Event, None, Weights]:
    """Train consecutive blocks, with the heads and the embedding where these learn, and load the best epoch's weights.

    AdamW minimises the loss summed over the batch's tokens; the gradient norm over all trained weights is clipped.
    With `exit_classifier_mode="joint"` the loss of the exit classifiers is added and they are trained too.

    Args:
        shares: weight of each block's loss in the objective.
        data: input of the first of these blocks.
        progress: state to resume from; its epochs are reported again. Each epoch has random streams of its own, so a
            resumed training is bit for bit the same as one without a break.
        keep: called with the progress after each epoch, before the epoch is reported.
        leaving: called before each epoch from `train.exits_from` on; returns the block at which each token of `data`
            leaves, int64 `[N, T]`. It may depend on the present weights and must leave them as they are. A token that
            has left keeps its state in the later blocks, and has no loss there. Early stopping looks at all tokens
            in all blocks nevertheless, so that epochs with exits and without compare.
        token_bytes: UTF-8 bytes of each token of the vocabulary, `[V]`, for `StageStarted`; None: not known.
        trainer_type: what takes the steps.

    Returns:
        The trained weights, by their names in the model.

    Raises:
        DivergedError: the loss is not finite.
        NoHardTokensError: the training or the early-stopping windows have no active token.
    """
    with clock.part("data"):
        train_windows, val_windows = _windows(data, config, stage)
    steps, tokens = -(-len(train_windows) // config.train.batch_size), _tokens(data, train_windows)
    with clock.part("set-up"):
        trainer = trainer_type(model, shares, data, config, stage, steps, clock)
        world().require_same(f"{stage}, {steps} steps, {tokens} tokens, weights of sum {trainer.checksum()!r}")
    flops = trainer.flops.total(data.targets[train_windows].numel(), tokens) / tokens
    lengths = [_bytes_per_token(token_bytes, data, windows) for windows in (train_windows, val_windows)]
    yield StageStarted(stage, "lm", trainer.only_block, config.train.max_epochs, steps, tokens, False, flops, *lengths)
    if progress is None:
        begun = trainer.weights()
        progress = Progress((), begun, begun, {})
    else:
        trainer.restore(progress.weights, progress.moments)
        yield from progress.epochs
    while len(progress.epochs) < config.train.max_epochs and not progress.out_of_patience:
        began, epoch = time.perf_counter(), len(progress.epochs) + 1
        with clock.part("data"):
            batches = shuffled(train_windows, config.train.batch_size, stream(config.seed, stage, "batches", epoch))
        left_at = None
        if leaving is not None and epoch >= config.train.exits_from:
            with clock.part("exits"):
                left_at = leaving()
        trainer.begin(epoch, left_at)
        sums = yield from _train_epoch(trainer, batches, stage, epoch)
        with clock.part("validation", _validation_flops(model, shares, data, val_windows, config)):
            val_loss = validation_loss(model, shares, data, val_windows, config)
        if not math.isfinite(val_loss):
            raise DivergedError(f"{stage} diverged in epoch {epoch}: its PPL is not finite; lower train.lr")
        improved = val_loss < progress.best_loss
        best_epoch = epoch if improved or progress.best is None else progress.best.epoch
        report = Epoch(
            stage=stage,
            epoch=epoch,
            loss=sums.loss / sums.weight,
            val_loss=val_loss,
            exit_loss=sums.exit_loss / sums.weight if trainer.joint else None,
            avg_label=sums.label / sums.weight if trainer.joint else None,
            improved=improved,
            patience_left=config.train.patience - (epoch - best_epoch),
            seconds=time.perf_counter() - began,
        )
        with clock.part("checkpoint"):
            progress = _advanced(progress, report, trainer)
            keep(progress)
        yield report
    model.load_state_dict(progress.best_weights, strict=False)
    return progress.best_weights


def _advanced(before: Progress, epoch: Epoch, trainer: Trainer) -> Progress:
    """Return the progress after one more epoch."""
    weights = trainer.weights()
    return Progress(
        epochs=(*before.epochs, epoch),
        weights=weights,
        best_weights=weights if epoch.improved else before.best_weights,
        moments=trainer.moments(),
    )


def _train_epoch(trainer: Trainer, batches: Iterable[Tensor], stage: str, epoch: int) -> Generator[Event, None, Sums]:
    """Take one optimizer step for each batch; return the sums over all their tokens."""
    sums = Sums()
    for step, windows in enumerate(batches, start=1):
        began = time.perf_counter()
        batch = trainer.step(windows)
        if not math.isfinite(batch.loss):
            raise DivergedError(
                f"{stage} diverged in epoch {epoch}, step {step}: the loss is not finite; lower train.lr"
            )
        sums.add(batch)
        yield Step(stage, epoch, step, batch.loss / batch.weight, batch.tokens, time.perf_counter() - began)
    return sums


def _windows(data: BlockData, config: RunConfig, stage: str) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and the early-stopping windows that have an active token, int64 each."""
    parts = split_windows(len(data), config, stage, data.targets.device)
    if data.active is None:
        return parts
    has_active = data.active.any(1)  # [N]
    train_windows, val_windows = (part[has_active[part]] for part in parts)
    if len(train_windows) == 0 or len(val_windows) == 0:
        lacking = "training" if len(train_windows) == 0 else "early-stopping"
        raise NoHardTokensError(
            f"{stage} can't begin: no token of the {lacking} windows is hard; raise exit.hard_ratio"
        )
    return train_windows, val_windows


def _tokens(data: BlockData, windows: Tensor) -> int:
    """Count the active tokens of some windows."""
    return len(windows) * data.targets.shape[1] if data.active is None else int(data.active[windows].sum())


def _bytes_per_token(token_bytes: Tensor | None, data: BlockData, windows: Tensor) -> float | None:
    """Return the mean UTF-8 bytes of the active targets of some windows; None where no bytes are known."""
    return None if token_bytes is None else float(token_bytes[data.active_targets(windows)].double().mean())


def _validation_flops(model: Transformer, shares: Shares, data: BlockData, windows: Tensor, config: RunConfig) -> float:
    """Count the FLOPs of `validation_loss` on those windows."""
    vocab_size, predictions = len(model.head.weight), sum(share > 0 for share in shares.values())
    layers = sum(costs.block_flops(config.model, block, data.targets.shape[1]) for block in shares)
    heads = predictions * costs.head_flops(config.model, vocab_size)
    return data.targets[windows].numel() * layers + _tokens(data, windows) * heads


@torch.no_grad()
def validation_loss(model: Transformer, shares: Shares, data: BlockData, windows: Tensor, config: RunConfig) -> float:
    """Return the mean cross-entropy over the active tokens of those windows, in nats, weighted by `shares`."""
    total, own = 0.0, world().part(windows)
    for batch in (own[some] for some in in_order(len(own), config)):
        targets = data.active_targets(batch)  # [n]
        for seen in observations(model, shares, data, batch, config):
            statistics = token_statistics(seen.hidden, model.head_weight(seen.block), targets)
            total += shares[seen.block] * float(statistics.cross_entropy.cpu().double().sum())
    (total,) = world().total([total])
    return total / _tokens(data, windows)
