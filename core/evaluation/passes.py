"""Ways through the model on evaluation windows: every block alone, early exit, and what comes of them.

Shapes: N windows, T tokens of a window, D model width, K blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.data.batches import READ_TOKENS
from core.data.windows import Windows
from core.early_exit.masked import EarlyExitStates, go_on
from core.early_exit.skipping import skipping_states
from core.events import Measured, Way
from core.exits import exit_method
from core.exits._contract import Observation
from core.formulas import share_of_layers_saved
from core.head.loss import token_statistics
from core.head.token_statistics import NO_EXTRAS, Extras, TokenStatistics
from core.machine.threads import shares, side_by_side
from core.model import Transformer


@dataclass(frozen=True)
class Pass:
    """What happened to every evaluated token on one way through the model; kept on the CPU.

    Attributes:
        cross_entropy: nats, `[N, T]`.
        correct: bool `[N, T]`.
        left_at: block whose output made the prediction, int64 `[N, T]`.
    """

    cross_entropy: Tensor
    correct: Tensor
    left_at: Tensor

    @staticmethod
    def empty(like: Tensor) -> "Pass":
        """Room for the tokens of `like [N, T]`."""
        return Pass(
            torch.empty(like.shape, dtype=torch.float64),
            torch.empty(like.shape, dtype=torch.bool),
            torch.full(like.shape, -1),
        )

    def fill(self, windows: slice, tokens: Tensor, statistics: TokenStatistics, block: int) -> None:
        """Note what the tokens of the mask `[B, T]` of those windows get from a block."""
        tokens = tokens.cpu()
        self.cross_entropy[windows][tokens] = statistics.cross_entropy.cpu().double()
        self.correct[windows][tokens] = statistics.correct.cpu()
        self.left_at[windows][tokens] = block


def oracle(static: Sequence[Pass]) -> Pass:
    """Every token leaves at the block with the lowest loss, the earliest among equals: a bound, not a method."""
    losses = torch.stack([depth.cross_entropy for depth in static])
    best = losses.min(0)
    correct = torch.stack([depth.correct for depth in static]).gather(0, best.indices[None])[0]
    return Pass(best.values, correct, best.indices)


def measured(stage: str, way: Way, result: Pass, config: RunConfig, block: int | None = None) -> Measured:
    """Summarise a pass over the evaluation split."""
    layers = config.model.block_layers
    shares = tuple(float((result.left_at == block).double().mean()) for block in range(len(layers)))
    return Measured(
        stage=stage,
        way=way,
        block=block,
        split="eval",
        token_set="all",
        tokens=result.cross_entropy.numel(),
        loss=float(result.cross_entropy.mean()),
        accuracy=float(result.correct.double().mean()),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
        window_losses=tuple(result.cross_entropy.mean(1).tolist()),
    )


@torch.no_grad()
def static_depths(
    model: Transformer, windows: Windows, batch: slice, depths: int, config: RunConfig, extras: Extras = NO_EXTRAS
) -> list[Observation]:
    """All tokens go through the first blocks, and the output of each is asked for its prediction.

    Returns:
        What each of these blocks says, with its statistics and with those of the blocks after it among these.
    """
    states, targets = model.embed(windows.inputs[batch]), windows.targets[batch]
    tokens = torch.arange(targets.numel(), device=targets.device) + batch.start * targets.shape[1]
    seen: list[Observation] = []
    for depth in range(depths):
        entered, states = states, model.blocks[depth](states)
        rows = states.flatten(0, 1)
        hidden = model.readout(depth, rows)
        statistics = token_statistics(hidden, model.head_weight(depth), targets.flatten(), extras)
        seen.append(Observation(hidden, rows, entered.flatten(0, 1), tokens, depth, config.seed, statistics))
    known = [observation.known for observation in seen]
    return [replace(observation, later=tuple(known[depth + 1 :])) for depth, observation in enumerate(seen)]


def early_exit(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    batch: slice,
    result: Pass,
    config: RunConfig,
    foreseen: Sequence[TokenStatistics] = (),
    states: EarlyExitStates = skipping_states,
) -> None:
    """Tokens leave at the first block whose signal reaches its threshold; without a threshold there is no exit.

    On the CPU, each thread takes windows of its own.

    Args:
        foreseen: statistics of each block should all tokens go through all blocks, for methods that `foresee`.
        states: how tokens go through the model.
    """
    targets = windows.targets[batch]
    count, width = targets.shape
    first = range(len(windows.targets))[batch].start
    walks = []
    for part in shares(count, max(1, READ_TOKENS // width), targets.device):
        own = slice(first + part.start, first + part.stop)
        walks.append(partial(_early_exit, model, thresholds, windows, own, result, config, foreseen, first, states))
    side_by_side(walks)


@torch.no_grad()
def _early_exit(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    batch: slice,
    result: Pass,
    config: RunConfig,
    foreseen: Sequence[TokenStatistics],
    foreseen_from: int,
    states: EarlyExitStates,
) -> None:
    """What one thread does of `early_exit`; the foreseen statistics begin with the tokens of a window."""
    method, targets = exit_method(config.method), windows.targets[batch]
    width = targets.shape[1]
    token = torch.arange(targets.numel(), device=targets.device).view_as(targets) + batch.start * width
    walk = states(model, windows.inputs[batch], config.exit.exited_state)
    arrival = go_on(walk)
    while arrival is not None:
        block, statistics = arrival.block, None
        leaves = torch.full_like(arrival.hidden[:, 0], block == len(model.blocks) - 1, dtype=torch.bool)
        if block < len(thresholds):
            here = token[arrival.tokens]
            if method.reads_head:
                head = model.head_weight(block)
                statistics = token_statistics(arrival.hidden, head, targets[arrival.tokens], method.extras)
            seen = Observation(
                hidden=arrival.hidden,
                output=arrival.output,
                entered=arrival.entered,
                tokens=here,
                block=block,
                seed=config.seed,
                statistics=statistics,
                later=tuple(depth[here - foreseen_from * width] for depth in foreseen[block + 1 :])
                if method.foresees
                else (),
            )
            leaves = method.signal(seen, model.classifier(block)) >= thresholds[block]
        leaving = arrival.tokens.masked_scatter(arrival.tokens, leaves)
        if statistics is None:
            statistics = token_statistics(arrival.hidden[leaves], model.head_weight(block), targets[leaving])
        else:
            statistics = statistics[leaves]
        result.fill(batch, leaving, statistics, block)
        arrival = go_on(walk, leaves)
