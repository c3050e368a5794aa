"""Statistics stage: run a trained block once over all its windows and keep what every later stage asks for.

The exit classifier's epochs, the threshold and the next block all read these states and statistics, so the
transformer is not run again for any of them.
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
from core.events import Event, Measured, Split, StageStarted, Step
from core.exits._contract import ExitMethod, Observation
from core.formulas import share_of_layers_saved
from core.head.loss import token_statistics
from core.head.token_statistics import NO_EXTRAS, TokenStatistics, mean64
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer, carried
from core.stages.block_data import BlockData, among
from core.stages.splits import Splits


@dataclass(frozen=True)
class BlockOutput:
    """A block's output over its windows.

    Attributes:
        data: what it read.
        states: output states, `[N, T, D]`.
        statistics: of every token that is still in, in order, `[n]`.
        later: the same of each later block, should these tokens stay in; empty where that was not asked for.
    """

    data: BlockData
    states: Tensor
    statistics: TokenStatistics
    later: tuple[TokenStatistics, ...] = ()

    @property
    def targets(self) -> Tensor:
        """Next words, `[N, T]`."""
        return self.data.targets


def block_output(
    model: Transformer, block: int, data: BlockData, config: RunConfig, stage: str
) -> Generator[Event, None, BlockOutput]:
    """States and statistics of all windows of a block, and its loss on its own training set."""
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
    """The same of the training windows and of those held out, if there are any.

    Args:
        method: whose extra statistics are made.
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
        output = yield from run.steps(stage, steps)
        outputs.append(output)
        yield _measured(stage, block, split, output, config)
    return Splits(*outputs)


def foreseen_output(
    model: Transformer,
    block: int,
    data: BlockData,
    config: RunConfig,
    stage: str,
    method: ExitMethod,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, BlockOutput]:
    """States and statistics of a block, and the statistics of all later blocks on the tokens that are in here."""
    batches = len(list(in_order(len(data), config)))
    blocks, active_share = range(block, len(model.blocks)), data.tokens / data.targets.numel()
    flops = costs.reading_flops(config.model, blocks, len(model.head.weight), data.targets.shape[1], active_share)
    yield StageStarted(stage, "statistics", block, 1, batches, data.tokens, flops=flops)
    run = _Run(model, blocks, data, config, method.extras, clock)
    output = yield from run.steps(stage, count(1))
    return output


def own_outputs(outputs: Splits[BlockOutput], data: Splits[BlockData]) -> Splits[BlockOutput]:
    """Outputs that may be a sibling's, on this run's own data: its embedding is its own, and may be trained on."""
    train = replace(outputs.train, data=data.train)
    if outputs.heldout is None or data.heldout is None:
        return Splits(train)
    return Splits(train, replace(outputs.heldout, data=data.heldout))


@torch.no_grad()
def observe(model: Transformer, block: int, output: BlockOutput, seed: int) -> Observation:
    """What an exit method gets to see of the tokens that are still in."""
    data = output.data
    rows = among(output.states, data.active)
    return Observation(
        hidden=model.readout(block, rows),
        output=rows,
        entered=among(data.states(slice(None)), data.active),
        tokens=among(torch.arange(data.targets.numel(), device=rows.device).view_as(data.targets), data.active),
        block=block,
        seed=seed,
        statistics=output.statistics,
        later=output.later,
    )


class _Run:
    """One pass of consecutive blocks over windows; the states of the first and the statistics of all are kept."""

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
        self.states = like.new_empty(*data.targets.shape, config.model.dim)
        self.statistics = [TokenStatistics.empty(data.tokens, like, extras) for _ in blocks]
        self.filled = 0

    def steps(self, stage: str, numbers: Iterator[int]) -> Generator[Event, None, BlockOutput]:
        for windows in in_order(len(self.data), self.config):
            began = time.perf_counter()
            tokens = self._step(windows)
            yield Step(stage, 1, next(numbers), None, tokens, time.perf_counter() - began)
        return BlockOutput(self.data, self.states, self.statistics[0], tuple(self.statistics[1:]))

    @torch.no_grad()
    def _step(self, windows: slice) -> int:
        """Fill in these windows; return the number of their tokens."""
        with self.clock.part("data"):
            states, active, targets = (
                self.data.states(windows),
                self.data.active_in(windows),
                self.data.active_targets(windows),
            )
        tokens = slice(self.filled, self.filled + len(targets))
        exited_state = self.config.exit.exited_state
        for block, found in zip(self.blocks, self.statistics, strict=True):
            with self.clock.part("forward", self._layer_flops(block, windows)):
                output = self.model.blocks[block](states, active, exited_state)
                if block == self.blocks[0]:
                    self.states[windows] = output
                    output = self.states[windows]
                hidden = self.model.readout(block, among(output, active))
            weight = self.model.head_weight(block)
            with self.clock.part("head", costs.head_flops(self.config.model, len(weight)) * len(targets)):
                found.fill(tokens, token_statistics(hidden, weight, targets, self.extras))
            states = carried(output, states, active, exited_state)
        self.filled = tokens.stop
        return len(targets)

    def _layer_flops(self, block: int, windows: slice) -> int:
        targets = self.data.targets[windows]
        return targets.numel() * costs.block_flops(self.config.model, block, targets.shape[1])


def _measured(stage: str, block: int, split: Split, output: BlockOutput, config: RunConfig) -> Measured:
    layers = config.model.block_layers
    shares = tuple(float(index == block) for index in range(len(layers)))
    return Measured(
        stage=stage,
        way="as trained",
        block=block,
        split=split,
        token_set="hard" if block else "all",
        tokens=len(output.statistics.cross_entropy),
        loss=mean64(output.statistics.cross_entropy),
        accuracy=mean64(output.statistics.correct),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
    )
