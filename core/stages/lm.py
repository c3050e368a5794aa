"""LM stage: train one block and the head to predict the next word, with early stopping."""

import math
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.config import RunConfig
from core.errors import DivergedError
from core.events import Epoch, Event, StageStarted, Step
from core.exits import exit_method
from core.losses import linear_cross_entropy, token_statistics
from core.model import Transformer
from core.rng import stream
from core.stages.batches import BlockData, shuffled

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training of a block stands after a whole epoch: all that the next epoch follows from.

    Attributes:
        epochs: those that are over, in order.
        weights, best_weights: the trained ones as they are, and as they were after the best epoch.
        moments: the optimizer's state of each weight: `head.weight.exp_avg` and so on.
    """

    epochs: tuple[Epoch, ...]
    weights: Weights
    best_weights: Weights
    moments: Weights

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest loss on the early-stopping split."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.improved), None)

    @property
    def best_loss(self) -> float:
        """Its loss; infinite before the first epoch."""
        return math.inf if self.best is None or self.best.val_loss is None else self.best.val_loss

    @property
    def out_of_patience(self) -> bool:
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
    """Train `model.blocks[block]` and the head; the best epoch's weights end up in the model.

    AdamW with torch's defaults on the loss summed over the batch's tokens; the gradient norm of block and head
    together is clipped. In joint mode the exit classifier's loss is added and it trains along.

    Args:
        progress: where to go on from, its epochs being reported again; what follows is bit for bit what would have
            followed without a break, as every epoch's batches come from a random stream of its own.
        keep: called with the progress after each epoch, before that is reported.

    Returns:
        The weights that were trained, by their names in the model.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    trainer = _BlockTrainer(model, block, data, config)
    train_windows, val_windows = split_windows(len(data), config, stage, data.targets.device)
    steps = -(-len(train_windows) // config.train.batch_size)
    yield StageStarted(stage, "lm", block, config.train.max_epochs, steps, len(train_windows) * data.targets.shape[1])
    if progress is None:
        progress = Progress((), trainer.weights(), trainer.weights(), {})
    else:
        trainer.restore(progress)
        yield from progress.epochs
    while len(progress.epochs) < config.train.max_epochs and not progress.out_of_patience:
        began, epoch = time.perf_counter(), len(progress.epochs) + 1
        batches = shuffled(train_windows, config.train.batch_size, stream(config.seed, stage, "batches", epoch))
        sums = yield from _train_epoch(trainer, batches, stage, epoch)
        val_loss = validation_loss(model, block, data, val_windows, config.train.batch_size)
        if not math.isfinite(val_loss):
            raise DivergedError(f"{stage} diverged in epoch {epoch}: its PPL is not a finite number; lower train.lr")
        improved = val_loss < progress.best_loss
        best_epoch = epoch if improved or progress.best is None else progress.best.epoch
        report = Epoch(
            stage=stage,
            epoch=epoch,
            loss=sums.loss / sums.tokens,
            val_loss=val_loss,
            exit_loss=sums.exit_loss / sums.tokens if trainer.joint else None,
            avg_label=sums.label / sums.tokens if trainer.joint else None,
            improved=improved,
            patience_left=config.train.patience - (epoch - best_epoch),
            seconds=time.perf_counter() - began,
        )
        progress = trainer.progress(progress, report)
        keep(progress)
        yield report
    model.load_state_dict(progress.best_weights, strict=False)
    return progress.best_weights


def _train_epoch(
    trainer: "_BlockTrainer", batches: Iterable[Tensor], stage: str, epoch: int
) -> Generator[Event, None, "_Sums"]:
    """One step for each batch; the sums over all their tokens."""
    sums = _Sums()
    for step, windows in enumerate(batches, start=1):
        began = time.perf_counter()
        batch = trainer.step(windows)
        if not math.isfinite(batch.loss):
            raise DivergedError(
                f"{stage} diverged in epoch {epoch}, step {step}: the loss is not a finite number; lower train.lr"
            )
        sums.add(batch)
        yield Step(stage, epoch, step, batch.loss / batch.tokens, batch.tokens, time.perf_counter() - began)
    return sums


def fits_classifier_jointly(config: RunConfig) -> bool:
    """Whether the exit classifier trains along with its block."""
    return config.exit.exit_classifier_mode == "joint" and exit_method(config.method).learns


def block_learning_rate(config: RunConfig, block: int) -> float:
    """Learning rate of a block and of its exit classifier."""
    return config.train.lr * (config.train.later_lr_scale if block else 1.0)


def split_windows(windows: int, config: RunConfig, stage: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random split of a stage's windows into (training, early-stopping) indices; both get at least one."""
    order = torch.randperm(windows, generator=stream(config.seed, stage, "split"))
    held_out = min(max(1, int(windows * config.train.val_ratio)), windows - 1)
    return order[held_out:].sort().values.to(device), order[:held_out].sort().values.to(device)


@torch.no_grad()
def validation_loss(model: Transformer, block: int, data: BlockData, windows: Tensor, batch_size: int) -> float:
    """Mean cross-entropy in nats of the block's output on those windows."""
    total = 0.0
    for batch in windows.split(batch_size):
        hidden = model.blocks[block](data.states(batch)).flatten(0, 1)
        statistics = token_statistics(hidden, model.head.weight, data.targets[batch].flatten())
        total += float(statistics.cross_entropy.cpu().double().sum())
    return total / (len(windows) * data.targets.shape[1])


@dataclass(slots=True)
class _Sums:
    """Totals over tokens, of a batch or of an epoch."""

    loss: float = 0.0
    exit_loss: float = 0.0
    label: float = 0.0
    tokens: int = 0

    def add(self, batch: "_Sums") -> None:
        self.loss += batch.loss
        self.exit_loss += batch.exit_loss
        self.label += batch.label
        self.tokens += batch.tokens


class _BlockTrainer:
    """One block, the head and, in joint mode, the exit classifier, with their optimizer."""

    def __init__(self, model: Transformer, block: int, data: BlockData, config: RunConfig) -> None:
        self.model, self.block, self.data = model, block, data
        self.method = exit_method(config.method)
        self.joint = fits_classifier_jointly(config)
        self.grad_clip = config.train.grad_clip
        prefixes = (f"blocks.{block}.", "head.", *((f"classifiers.{block}.",) if self.joint else ()))
        self.trained = {name: weight for name, weight in model.named_parameters() if name.startswith(prefixes)}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=block_learning_rate(config, block), fused=True)

    def step(self, windows: Tensor) -> _Sums:
        """One optimizer step on those windows; what it summed over their tokens."""
        hidden = self.model.blocks[self.block](self.data.states(windows)).flatten(0, 1)
        targets = self.data.targets[windows].flatten()
        loss, statistics = linear_cross_entropy(hidden, self.model.head.weight, targets)
        exit_loss, label = hidden.new_zeros(()), hidden.new_zeros(())
        if self.joint:
            label = self.method.label(statistics)
            exit_loss = self.method.loss(self.model.classifier(self.block)(hidden), label)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + exit_loss if self.joint else loss).backward()
        nn.utils.clip_grad_norm_(self.trained.values(), self.grad_clip)
        self.optimizer.step()
        return _Sums(loss.item(), exit_loss.item(), label.sum().item(), len(targets))

    def progress(self, before: Progress, epoch: Epoch) -> Progress:
        """Where the training stands after one more epoch."""
        weights = self.weights()
        return Progress(
            epochs=(*before.epochs, epoch),
            weights=weights,
            best_weights=weights if epoch.improved else before.best_weights,
            moments={
                f"{name}.{moment}": value.detach().clone()
                for name, weight in self.trained.items()
                for moment, value in self.optimizer.state[weight].items()
            },
        )

    @torch.no_grad()
    def restore(self, progress: Progress) -> None:
        """Take weights and optimizer back to where they were."""
        for name, weight in self.trained.items():
            weight.copy_(progress.weights[name])
        for key, value in progress.moments.items():
            name, _, moment = key.rpartition(".")
            weight = self.trained[name]
            self.optimizer.state[weight][moment] = value.to(weight.device, copy=True)

    def weights(self) -> Weights:
        """A copy of the trained weights as they are now."""
        return {name: weight.detach().clone() for name, weight in self.trained.items()}
