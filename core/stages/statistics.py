"""Statistics stage: run a trained block once over all its windows and keep what every later stage asks for.

The exit classifier's epochs, the threshold and the next block all read these states and statistics, so the
transformer is not run again for any of them.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config import RunConfig
from core.events import Event, Measured, StageStarted, Step, share_of_layers_saved
from core.losses import TokenStatistics, mean64, token_statistics
from core.model import Transformer
from core.stages.batches import BlockData, in_order


@dataclass(frozen=True)
class BlockOutput:
    """A block's output over its whole training set.

    Attributes:
        states: output states, `[N, T, D]`.
        targets: next words, `[N, T]`.
        statistics: of every token in order, `[N·T]`.
    """

    states: Tensor
    targets: Tensor
    statistics: TokenStatistics


@torch.no_grad()
def _run(model: Transformer, block: int, data: BlockData, windows: slice, output: BlockOutput) -> int:
    """Fill the output for these windows; return the number of their tokens."""
    output.states[windows] = model.blocks[block](data.states(windows))
    targets = data.targets[windows]
    width = targets.shape[1]
    statistics = token_statistics(output.states[windows].flatten(0, 1), model.head.weight, targets.flatten())
    tokens = slice(windows.start * width, windows.start * width + targets.numel())
    output.statistics.fill(tokens, statistics)
    return targets.numel()


def block_output(
    model: Transformer, block: int, data: BlockData, config: RunConfig, stage: str
) -> Generator[Event, None, BlockOutput]:
    """States and statistics of all windows of a block, and its loss on its own training set."""
    batches = tuple(in_order(len(data), config.train.batch_size))
    yield StageStarted(stage, "statistics", block, 1, len(batches), data.tokens)
    weight = model.head.weight
    output = BlockOutput(
        weight.new_empty(*data.targets.shape, config.model.dim, requires_grad=False),
        data.targets,
        TokenStatistics.empty(data.tokens, weight.detach()),
    )
    for step, windows in enumerate(batches, start=1):
        began = time.perf_counter()
        tokens = _run(model, block, data, windows, output)
        yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
    layers = config.model.block_layers
    shares = tuple(float(index == block) for index in range(len(layers)))
    yield Measured(
        stage=stage,
        name=f"block {block} on its training windows",
        split="train",
        token_set="hard" if block else "all",
        tokens=data.tokens,
        loss=mean64(output.statistics.cross_entropy),
        accuracy=mean64(output.statistics.correct),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
    )
    return output
