"""Statistics stage: run a trained block once over all its windows and keep its states and statistics.

The exit classifier, the threshold and the next block read these, so none of them runs the block again.

Shapes: N windows, B windows of a batch, T tokens of a window, D model width; n active tokens, b those of a batch.
"""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from core import costs
from core.config.run_config import RunConfig
from core.data.batches import in_order
from core.events import Event, Measured, Split, StageStarted, Step, TokenSet
from core.exits import saved_by_leaving
from core.exits._contract import ExitMethod, Observation
from core.formulas import share_of_layers_saved
from core.head.loss import token_statistics
from core.head.token_statistics import NO_EXTRAS, TokenStatistics, mean64
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer, carried
from core.stages.block_data import BlockData, from_states, select_active
from core.stages.splits import Splits


@dataclass(frozen=True)
class BlockOutput:
    """Output of a block over its windows.

    Attributes:
        data: the block's input.
        states: output states, `[N, T, D]`.
        statistics: statistics of the active tokens, in order, `[n]`.
        later: statistics of each later block if none of these tokens exits; empty if they were not computed.
    """

    data: BlockData
    states: Tensor
    statistics: TokenStatistics
    later: tuple[TokenStatistics, ...] = ()

    @property
    def targets(self) -> Tensor:
        """Ids of the next tokens, int64 `[N, T]`."""
        return self.data.targets


def block_output(
    model: Transformer, block: int, data: BlockData, config: RunConfig, stage: str
) -> Generator[Event, None, BlockOutput]:
    """Run a block over all its windows, report its loss on them, and return its output."""
    outputs = yield from block_outputs(model, block, Splits(data), config, stage)
    return outputs.train


def block_outputs(
    model: Transformer,
    block: int,
    data: Splits[BlockData],
    config: RunConfig,
    stage: str,
    method: ExitMethod | None = None,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Splits[BlockOutput]]:
    """Run a block over its training windows and the held-out ones; report its loss and return its output on each.

    Args:
        method: exit method, for the extra statistics that it needs.
    """
    extras = NO_EXTRAS if method is None else method.extras
    parts: list[tuple[Split, BlockData]] = [("train", data.train)]
    if data.heldout is not None:
        parts.append(("calibration", data.heldout))
    batches = sum(len(list(in_order(len(part), config))) for _, part in parts)
    tokens, windows = sum(part.tokens for _, part in parts), sum(part.targets.numel() for _, part in parts)
    flops = costs.reading_flops(
        config.model, [block], len(model.head.weight), data.train.targets.shape[1], tokens / windows
    )
    yield StageStarted(stage, "statistics", block, 1, batches, tokens, flops=flops)
    outputs: list[BlockOutput] = []
    steps = count(1)
    for split, part in parts:
        run = _Run(model, range(block, block + 1), part, config, extras, clock)
        (output,) = yield from run.steps(stage, steps)
        outputs.append(output)
        yield measured_alone(stage, block, split, "hard" if block else "all", output.statistics, config)
    return Splits(*outputs)


def foreseen_outputs(
    model: Transformer,
    data: BlockData,
    config: RunConfig,
    stage: str,
    method: ExitMethod,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, list[BlockOutput]]:
    """Run all tokens through all blocks; return each block's output, with the statistics of the later ones.

    No token leaves, so each attends to its whole context.
    """
    batches = len(list(in_order(len(data), config)))
    blocks = range(len(model.blocks))
    flops = costs.reading_flops(config.model, blocks, len(model.head.weight), data.targets.shape[1])
    yield StageStarted(stage, "statistics", None, 1, batches, data.tokens, flops=flops)
    run = _Run(model, blocks, data, config, method.extras, clock)
    outputs = yield from run.steps(stage, count(1))
    return outputs


def own_outputs(outputs: Splits[BlockOutput], data: Splits[BlockData]) -> Splits[BlockOutput]:
    """Return outputs, which may be a sibling run's, with this run's own data: its embedding may differ by now."""
    train = replace(outputs.train, data=data.train)
    if outputs.heldout is None or data.heldout is None:
        return Splits(train)
    return Splits(train, replace(outputs.heldout, data=data.heldout))


@torch.no_grad()
def observe(model: Transformer, block: int, output: BlockOutput, config: RunConfig) -> Observation:
    """Return the exit method's view of the active tokens."""
    data = output.data
    rows = select_active(output.states, data.active)  # [n, D]
    tokens = torch.arange(data.targets.numel(), device=rows.device).view_as(data.targets)  # [N, T]
    return Observation(
        hidden=model.readout(block, rows),
        output=rows,
        entered=select_active(data.states(slice(None)), data.active),
        tokens=select_active(tokens, data.active),
        block=block,
        seed=config.seed,
        statistics=output.statistics,
        later=output.later,
        saved=saved_by_leaving(config, model.embedding.num_embeddings, block),
    )


class _Run:
    """A pass of consecutive blocks over windows that keeps states and statistics."""

    def __init__(
        self,
        model: Transformer,
        blocks: range,
        data: BlockData,
        config: RunConfig,
        extras: frozenset[str],
        clock: Clock,
    ) -> None:
        self.model, self.blocks, self.data, self.config, self.extras = model, blocks, data, config, extras
        self.clock = clock
        like = model.head.weight.detach()
        self.states = [like.new_empty(*data.targets.shape, config.model.dim) for _ in blocks]  # [N, T, D] each
        self.statistics = [TokenStatistics.empty(data.tokens, like, extras) for _ in blocks]
        self.filled = 0

    def steps(self, stage: str, numbers: Iterator[int]) -> Generator[Event, None, list[BlockOutput]]:
        """Run the blocks batch by batch; yield a step for each, and return each block's output."""
        for windows in in_order(len(self.data), self.config):
            began = time.perf_counter()
            tokens = self._step(windows)
            yield Step(stage, 1, next(numbers), None, tokens, time.perf_counter() - began)
        entered = [self.data, *(from_states(states, self.data.targets, self.data.active) for states in self.states)]
        return [
            BlockOutput(entered[index], self.states[index], found, tuple(self.statistics[index + 1 :]))
            for index, found in enumerate(self.statistics)
        ]

    @torch.no_grad()
    def _step(self, windows: slice) -> int:
        """Run the blocks on these windows; return the number of their active tokens."""
        with self.clock.part("data"):
            states, active, targets = (
                self.data.states(windows),  # [B, T, D]
                self.data.active_in(windows),  # [B, T]
                self.data.active_targets(windows),  # [b]
            )
        tokens = slice(self.filled, self.filled + len(targets))
        exited_state = self.config.exit.exited_state
        for block, kept, found in zip(self.blocks, self.states, self.statistics, strict=True):
            with self.clock.part("forward", self._layer_flops(block, windows)):
                kept[windows] = self.model.blocks[block](states, active, exited_state)
                output = kept[windows]  # [B, T, D]
                hidden = self.model.readout(block, select_active(output, active))  # [b, D]
            weight = self.model.head_weight(block)
            with self.clock.part("head", costs.head_flops(self.config.model, len(weight)) * len(targets)):
                found.fill(tokens, token_statistics(hidden, weight, targets, self.extras))
            states = carried(output, states, active, exited_state)
        self.filled = tokens.stop
        return len(targets)

    def _layer_flops(self, block: int, windows: slice) -> int:
        targets = self.data.targets[windows]
        return targets.numel() * costs.block_flops(self.config.model, block, targets.shape[1])


def measured_alone(
    stage: str, block: int, split: Split, token_set: TokenSet, statistics: TokenStatistics, config: RunConfig
) -> Measured:
    """Summarise a block's predictions of a stage's tokens, as it was when it had run over them."""
    layers = config.model.block_layers
    shares = tuple(float(index == block) for index in range(len(layers)))
    return Measured(
        stage=stage,
        way="as trained",
        block=block,
        split=split,
        token_set=token_set,
        tokens=len(statistics.cross_entropy),
        loss=mean64(statistics.cross_entropy),
        accuracy=mean64(statistics.correct),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
    )
