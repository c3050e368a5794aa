"""The trained weights of an LM stage, and one optimizer step on them.

Shapes: B windows of a batch, T tokens of a window, D model width; n active tokens of the batch.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core import costs
from core.config.derived import Shares
from core.config.run_config import RunConfig
from core.exits import first_method, fits_classifier_jointly
from core.exits._contract import Observation
from core.head.loss import linear_cross_entropy, linear_cross_entropy_with_statistics
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.parallel.world import world
from core.rng import stream
from core.stages.block_data import BlockData, select_active

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Sums:
    """Totals over the active tokens of a batch or an epoch; loss and labels are weighted by the blocks' shares.

    Attributes:
        tokens: tokens that the first block is trained on.
        weight: predictions, weighted by the blocks' shares: `tokens`, unless tokens left in between.
    """

    loss: float = 0.0
    exit_loss: float = 0.0
    label: float = 0.0
    tokens: int = 0
    weight: float = 0.0

    def over_all(self, weight: int) -> "Sums":
        """Return the sums over all processes; this one's count as often as `weight` says."""
        values = (self.loss, self.exit_loss, self.label, float(self.tokens), float(self.weight))
        loss, exit_loss, label, tokens, predictions = world().total([weight * value for value in values])
        return Sums(loss, exit_loss, label, round(tokens), predictions)

    def add(self, batch: "Sums") -> None:
        """Add the totals of a batch."""
        self.weight += batch.weight
        self.loss += batch.loss
        self.exit_loss += batch.exit_loss
        self.label += batch.label
        self.tokens += batch.tokens


class Trainer:
    """Trains blocks, with the heads and the embedding where these learn and, in joint mode, the exit classifiers.

    Args:
        steps: number of steps in an epoch.
    """

    def __init__(
        self,
        model: Transformer,
        shares: Shares,
        data: BlockData,
        config: RunConfig,
        stage: str,
        steps: int,
        clock: Clock = UNPROFILED,
    ) -> None:
        self.model, self.shares, self.data, self.config, self.stage, self.steps, self.clock = (
            model, shares, data, config, stage, steps, clock,
        )  # fmt: skip
        self.method = first_method(config.method)
        self.joint = fits_classifier_jointly(config)
        self.matmul_dtype = torch.bfloat16 if config.machine.head_dtype == "bfloat16" else None
        self.taken = 0
        start_from_previous(model, min(shares), config)
        self.learning = {id(weight) for weight in self._learning()}
        self.trained = {name: weight for name, weight in model.named_parameters() if id(weight) in self.learning}
        self.learning_rate = block_learning_rate(config, min(shares))
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=self.learning_rate, weight_decay=config.train.weight_decay, fused=True
        )
        self.flops = self._step_flops()
        self.begin(1)

    @property
    def only_block(self) -> int | None:
        """The trained block; None if there are several."""
        return min(self.shares) if len(self.shares) == 1 else None

    def begin(self, epoch: int, left_at: Tensor | None = None) -> None:
        """Prepare for the steps of an epoch; epochs count from 1.

        Args:
            left_at: block at which each token of the data leaves, int64 `[N, T]`; None: all go through all blocks.
        """
        self.taken, self.left_at = (epoch - 1) * self.steps, left_at
        self.dropout = stream(self.config.seed, self.stage, "dropout", epoch)

    def step(self, windows: Tensor) -> Sums:
        """Take one optimizer step on those windows; return the sums over their active tokens.

        Each of several processes runs its part of the windows; their gradients and sums are added up.
        """
        rows = world().rows(len(windows))
        own, deepest = windows[rows.own], self._deepest(windows)
        shares = self._shares_in_step()
        with self._dropping((rows.total, rows.own)):
            total, sums = self._losses(own, deepest, shares)
        self.optimizer.zero_grad(set_to_none=True)
        with self.clock.part("backward", self.flops.backward * self.data.targets[own].numel()):
            (total if rows.weight else 0 * total).backward()
        if world().size > 1:
            with self.clock.part("exchange"):
                sums = sums.over_all(rows.weight)
                world().add_up(self.trained.values(), some_lack=deepest is not None or shares is not self.shares)
        with self.clock.part("optimizer"):
            nn.utils.clip_grad_norm_(self.trained.values(), self.config.train.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * rate_factor(self.taken, self.steps, self.config)
            self.optimizer.step()
        self.taken += 1
        return sums

    @torch.no_grad()
    def restore(self, weights: Weights, moments: Weights) -> None:
        """Load the trained weights and the optimizer's state."""
        for name, weight in self.trained.items():
            weight.copy_(weights[name])
        for key, value in moments.items():
            name, _, moment = key.rpartition(".")
            weight = self.trained[name]
            self.optimizer.state[weight][moment] = value.to(weight.device, copy=True)

    def weights(self) -> Weights:
        """Return a copy of the trained weights."""
        return {name: weight.detach().clone() for name, weight in self.trained.items()}

    def moments(self) -> Weights:
        """Return a copy of the optimizer's state: `head.weight.exp_avg` and so on."""
        return {
            f"{name}.{moment}": value.detach().clone()
            for name, weight in self.trained.items()
            for moment, value in self.optimizer.state[weight].items()
        }

    def checksum(self) -> float:
        """Return a figure that tells the trained weights from others."""
        return sum(float(weight.detach().double().abs().sum()) for weight in self.trained.values())

    def _learning(self) -> Iterator[Tensor]:
        """Yield the weights to train; a shared one may come more than once."""
        first = 0 in self.shares
        for block, share in self.shares.items():
            yield from self.model.blocks[block].parameters()
            if share and (first or self.config.train.head != "frozen"):
                yield self.model.head_weight(block)
            if share and self.joint:
                yield from self.model.classifier(block).parameters()
        if first and self.config.train.train_embedding:
            yield self.model.embedding.weight

    def _deepest(self, windows: Tensor) -> int | None:
        """Return the last block that a token of those windows reaches; None: all reach all blocks."""
        return None if self.left_at is None else int(self.left_at[windows].max())

    def _shares_in_step(self) -> Shares:
        """Return the weights of the blocks' losses in the next step."""
        return self.shares

    def _dropping(self, rows: tuple[int, slice]) -> AbstractContextManager[None]:
        """Return the context in which dropout is active in the next step; `rows` as in `Transformer.dropping`."""
        return self.model.dropping(self.dropout, rows)

    def _losses(self, windows: Tensor, deepest: int | None, shares: Shares) -> tuple[Tensor, Sums]:
        """Return the objective, a differentiable scalar, and the sums over the active tokens."""
        with self.clock.part("data"):
            targets = self.data.active_targets(windows)  # [n]
        total, sums = self.model.head.weight.new_zeros(()), Sums(tokens=len(targets))
        left_at = None if self.left_at is None else self.left_at[windows]  # [B, T]
        arguments = (self.model, shares, self.data, windows, self.config, self.clock, left_at, deepest)
        for seen in observations(*arguments):
            if left_at is not None:
                targets = self.data.targets.flatten()[seen.tokens]  # [n], those that arrive
            with self.clock.part("head", self.flops.head * len(targets)):
                total = total + self._loss(seen, targets, sums, shares[seen.block])
            sums.weight += shares[seen.block] * len(targets)
        if left_at is None:
            sums.weight = sums.tokens  # the shares add up to 1, but for rounding
        return total, sums

    def _loss(self, seen: Observation, targets: Tensor, sums: Sums, share: float) -> Tensor:
        """Return a block's term of the objective, and add its losses to the sums."""
        head = self.model.head_weight(seen.block)
        weight = head if id(head) in self.learning else head.detach()
        arguments = (seen.hidden, weight, targets, self.config.train.label_smoothing, self.matmul_dtype)
        if not self.joint:
            loss, cross_entropy = linear_cross_entropy(*arguments)
            sums.loss += share * cross_entropy.sum().item()
            return share * loss
        loss, statistics = linear_cross_entropy_with_statistics(*arguments)
        sums.loss += share * statistics.cross_entropy.sum().item()
        label = self.method.label(replace(seen, statistics=statistics))
        exit_loss = self.method.loss(self.model.classifier(seen.block)(seen.hidden), label)
        sums.exit_loss += share * exit_loss.item()
        sums.label += share * label.sum().item()
        return share * (loss + exit_loss)

    def _step_flops(self) -> costs.StepFlops:
        predicting = [block for block, share in self.shares.items() if share]
        return costs.step_flops(
            self.config.model,
            self.shares,
            len(predicting),
            vocab_size=len(self.model.head.weight),
            seq_len=self.data.targets.shape[1],
            input_learns=0 in self.shares and self.config.train.train_embedding,
            head_learns=any(id(self.model.head_weight(block)) in self.learning for block in predicting),
            fits_classifier=self.joint,
        )


def observations(
    model: Transformer,
    shares: Shares,
    data: BlockData,
    windows: Tensor,
    config: RunConfig,
    clock: Clock = UNPROFILED,
    left_at: Tensor | None = None,
    deepest: int | None = None,
) -> Iterator[Observation]:
    """Run the blocks on those windows; yield each block's view of the active tokens where its loss counts.

    The observations hold no statistics. They end with the block at which the last token leaves.

    Args:
        left_at: block at which each token leaves, int64 `[B, T]`; the first of the blocks is number 0, and all tokens
            are active there. None: the tokens that are active go through all blocks.
        deepest: the last block to run, where other windows of the batch have tokens there.
    """
    width = data.targets.shape[1]
    with clock.part("data"):
        states, active = data.states(windows), data.active_in(windows)  # [B, T, D], [B, T]
        places = windows[:, None] * width + torch.arange(width, device=windows.device)  # [B, T]
        tokens = select_active(places, active)  # [n]
    for block, share in shares.items():
        if left_at is not None and block:
            if block > (int(left_at.max()) if deepest is None else deepest):
                return
            active = left_at >= block
            tokens = places[active]
        with clock.part("forward", len(windows) * width * costs.block_flops(config.model, block, width)):
            entered, states = states, model.blocks[block](states, active, config.exit.exited_state)
            rows = select_active(states, active)  # [n, D]
            hidden = model.readout(block, rows) if share else rows  # [n, D]
        if share and len(tokens):
            yield Observation(hidden, rows, select_active(entered, active), tokens, block, config.seed)


def start_from_previous(model: Transformer, block: int, config: RunConfig) -> None:
    """Initialise a later block's own head and, with `later_init = "identity"`, its readout from the block before."""
    if block == 0:
        return
    model.begin_head(block)
    if config.train.later_init == "identity":
        model.begin_readout(block)


def rate_factor(step: int, steps: int, config: RunConfig) -> float:
    """Return the factor of the learning rate at a step, in [0, 1].

    It rises linearly over the warm-up; then it is constant, or falls as half a cosine to 0 at the end of `max_epochs`
    (Loshchilov and Hutter 2017, eq. 5, without restarts).

    Args:
        step: number of the step in the training, from 0.
        steps: number of steps in an epoch.
    """
    train = config.train
    factor = min(1.0, (step + 1) / train.warmup_steps) if train.warmup_steps else 1.0
    if train.decay == "cosine":
        factor *= (1 + math.cos(math.pi * step / (steps * train.max_epochs))) / 2
    return factor


def block_learning_rate(config: RunConfig, block: int) -> float:
    """Return the learning rate of a block and of its exit classifier."""
    return config.train.lr * (config.train.later_lr_scale if block else 1.0)
