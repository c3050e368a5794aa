"""LM stage: train one block and the head to predict the next word, with early stopping."""

import math
import time
from collections.abc import Generator
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


def train_block(
    model: Transformer, block: int, data: BlockData, config: RunConfig, stage: str
) -> Generator[Event, None, Weights]:
    """Train `model.blocks[block]` and the head; the best epoch's weights end up in the model.

    AdamW with torch's defaults on the loss summed over the batch's tokens; the gradient norm of block and head
    together is clipped. In joint mode the exit classifier's loss is added and it trains along.

    Returns:
        The weights that were trained, by their names in the model.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    trainer = _BlockTrainer(model, block, data, config)
    train_windows, val_windows = split_windows(len(data), config, stage, data.targets.device)
    steps = -(-len(train_windows) // config.train.batch_size)
    yield StageStarted(stage, "lm", block, config.train.max_epochs, steps, len(train_windows) * data.targets.shape[1])

    best_loss, best_weights, patience_left = math.inf, trainer.weights(), config.train.patience
    for epoch in range(1, config.train.max_epochs + 1):
        began, sums = time.perf_counter(), _Sums()
        batches = shuffled(train_windows, config.train.batch_size, stream(config.seed, stage, "batches", epoch))
        for step, windows in enumerate(batches, start=1):
            step_began = time.perf_counter()
            batch = trainer.step(windows)
            if not math.isfinite(batch.loss):
                raise DivergedError(
                    f"{stage} diverged in epoch {epoch}, step {step}: the loss is not a finite number; lower train.lr"
                )
            sums.add(batch)
            yield Step(stage, epoch, step, batch.loss / batch.tokens, batch.tokens, time.perf_counter() - step_began)
        val_loss = validation_loss(model, block, data, val_windows, config.train.batch_size)
        if not math.isfinite(val_loss):
            raise DivergedError(f"{stage} diverged in epoch {epoch}: its PPL is not a finite number; lower train.lr")
        improved = val_loss < best_loss
        patience_left = config.train.patience if improved else patience_left - 1
        if improved:
            best_loss, best_weights = val_loss, trainer.weights()
        yield Epoch(
            stage=stage,
            epoch=epoch,
            loss=sums.loss / sums.tokens,
            val_loss=val_loss,
            exit_loss=sums.exit_loss / sums.tokens if trainer.joint else None,
            avg_label=sums.label / sums.tokens if trainer.joint else None,
            improved=improved,
            patience_left=patience_left,
            seconds=time.perf_counter() - began,
        )
        if patience_left == 0:
            break
    model.load_state_dict(best_weights, strict=False)
    return best_weights


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

    def weights(self) -> Weights:
        """A copy of the trained weights as they are now."""
        return {name: weight.detach().clone() for name, weight in self.trained.items()}
