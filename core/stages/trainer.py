"""What an LM stage trains, and how one step of it goes."""

import math
from collections.abc import Iterator
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
from core.rng import stream
from core.stages.block_data import BlockData, among

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Sums:
    """Totals over tokens, of a batch or of an epoch; losses weighted by the blocks' shares."""

    loss: float = 0.0
    exit_loss: float = 0.0
    label: float = 0.0
    tokens: int = 0

    def add(self, batch: "Sums") -> None:
        self.loss += batch.loss
        self.exit_loss += batch.exit_loss
        self.label += batch.label
        self.tokens += batch.tokens


class Trainer:
    """Blocks, the heads and the embedding that learn with them and, in joint mode, their exit classifiers.

    Args:
        steps: of an epoch.
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
        begin_as_before(model, min(shares), config)
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
        """The block that is trained, if it is one alone."""
        return min(self.shares) if len(self.shares) == 1 else None

    def begin(self, epoch: int) -> None:
        """Get ready for the steps of an epoch, which counts from 1."""
        self.taken = (epoch - 1) * self.steps
        self.dropout = stream(self.config.seed, self.stage, "dropout", epoch)

    def step(self, windows: Tensor) -> Sums:
        """One optimizer step on those windows; what it summed over their tokens."""
        with self.model.dropping(self.dropout):
            total, sums = self._losses(windows)
        self.optimizer.zero_grad(set_to_none=True)
        with self.clock.part("backward", self.flops.backward * self.data.targets[windows].numel()):
            total.backward()
        with self.clock.part("optimizer"):
            nn.utils.clip_grad_norm_(self.trained.values(), self.config.train.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * rate_factor(self.taken, self.steps, self.config)
            self.optimizer.step()
        self.taken += 1
        return sums

    @torch.no_grad()
    def restore(self, weights: Weights, moments: Weights) -> None:
        """Take weights and optimizer back to where they were."""
        for name, weight in self.trained.items():
            weight.copy_(weights[name])
        for key, value in moments.items():
            name, _, moment = key.rpartition(".")
            weight = self.trained[name]
            self.optimizer.state[weight][moment] = value.to(weight.device, copy=True)

    def weights(self) -> Weights:
        """A copy of the trained weights as they are now."""
        return {name: weight.detach().clone() for name, weight in self.trained.items()}

    def moments(self) -> Weights:
        """A copy of the optimizer's state: `head.weight.exp_avg` and so on."""
        return {
            f"{name}.{moment}": value.detach().clone()
            for name, weight in self.trained.items()
            for moment, value in self.optimizer.state[weight].items()
        }

    def _learning(self) -> Iterator[Tensor]:
        first = 0 in self.shares
        for block, share in self.shares.items():
            yield from self.model.blocks[block].parameters()
            if share and (first or self.config.train.head != "frozen"):
                yield self.model.head_weight(block)
            if share and self.joint:
                yield from self.model.classifier(block).parameters()
        if first and self.config.train.train_embedding:
            yield self.model.embedding.weight

    def _losses(self, windows: Tensor) -> tuple[Tensor, Sums]:
        """What is minimised, and its parts."""
        with self.clock.part("data"):
            targets = self.data.active_targets(windows)
        total, sums = self.model.head.weight.new_zeros(()), Sums(tokens=len(targets))
        for seen in observations(self.model, self.shares, self.data, windows, self.config, self.clock):
            with self.clock.part("head", self.flops.head * len(targets)):
                total = total + self._loss(seen, targets, sums)
        return total, sums

    def _loss(self, seen: Observation, targets: Tensor, sums: Sums) -> Tensor:
        """What a block adds to what is minimised, and to the sums."""
        share, head = self.shares[seen.block], self.model.head_weight(seen.block)
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
) -> Iterator[Observation]:
    """What each block whose loss counts says of the tokens that are still in, without statistics."""
    width = data.targets.shape[1]
    with clock.part("data"):
        states, active = data.states(windows), data.active_in(windows)
        tokens = among(windows[:, None] * width + torch.arange(width, device=windows.device), active)
    for block, share in shares.items():
        with clock.part("forward", len(windows) * width * costs.block_flops(config.model, block, width)):
            entered, states = states, model.blocks[block](states, active, config.exit.exited_state)
            rows = among(states, active)
            hidden = model.readout(block, rows) if share else rows
        if share:
            yield Observation(hidden, rows, among(entered, active), tokens, block, config.seed)


def begin_as_before(model: Transformer, block: int, config: RunConfig) -> None:
    """Give a later block what it starts from: a head of its own the head before it, identity the readout before it."""
    if block == 0:
        return
    model.begin_head(block)
    if config.train.later_init == "identity":
        model.begin_readout(block)


def rate_factor(step: int, steps: int, config: RunConfig) -> float:
    """What the learning rate is multiplied with at a step, counted from 0 and of `steps` an epoch.

    Linear warm-up; then constant, or half a cosine to 0 at the end of `max_epochs` (Loshchilov and Hutter 2017, eq. 5,
    without restarts).
    """
    train = config.train
    factor = min(1.0, (step + 1) / train.warmup_steps) if train.warmup_steps else 1.0
    if train.decay == "cosine":
        factor *= (1 + math.cos(math.pi * step / (steps * train.max_epochs))) / 2
    return factor


def block_learning_rate(config: RunConfig, block: int) -> float:
    """Learning rate of a block and of its exit classifier."""
    return config.train.lr * (config.train.later_lr_scale if block else 1.0)
