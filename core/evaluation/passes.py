"""Ways through the model on evaluation windows: fixed depths, early exit, and the oracle.

Shapes: N windows, B windows of a batch, T tokens of a window, D model width, K blocks; n active tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.costs import ExitCosts
from core.data.batches import READ_TOKENS
from core.data.windows import Windows
from core.early_exit.masked import EarlyExitStates, go_on
from core.early_exit.packed_attention import furthest, in_reach
from core.early_exit.skipping import skipping_states
from core.events import Measured, Way
from core.exits import exit_method, saved_by_leaving
from core.exits._contract import Observation
from core.formulas import layers_saved, share_of_layers_saved
from core.head.loss import token_statistics
from core.head.token_statistics import NO_EXTRAS, Extras, TokenStatistics
from core.machine.threads import shares, side_by_side
from core.model import Transformer
from core.pricing.thresholds import is_on


@dataclass(frozen=True)
class Pass:
    """Results for every evaluated token on one way through the model; kept on the CPU.

    Attributes:
        cross_entropy: loss in nats, float64 `[N, T]`.
        correct: whether the prediction is the target, bool `[N, T]`.
        left_at: block at which the token exits, int64 `[N, T]`.
    """

    cross_entropy: Tensor
    correct: Tensor
    left_at: Tensor

    @staticmethod
    def empty(like: Tensor) -> "Pass":
        """Return a pass with unfilled tensors for the tokens of `like [N, T]`."""
        return Pass(
            torch.empty(like.shape, dtype=torch.float64),
            torch.empty(like.shape, dtype=torch.bool),
            torch.full(like.shape, -1),
        )

    def ran_to(self, config: RunConfig) -> Tensor:
        """Return the last block that each token ran through, int64 `[N, T]`.

        It is where the token left, except under `deferred`: there it runs as far as any token that attends to it.
        """
        if config.exit.exited_state != "deferred":
            return self.left_at
        return furthest(self.left_at, causal=config.model.causal)

    def fill(self, windows: slice, tokens: Tensor, statistics: TokenStatistics, block: int) -> None:
        """Store the results of the tokens of those windows that exit at a block.

        Args:
            tokens: mask of these tokens, bool `[B, T]`.
            statistics: their statistics, in order.
        """
        tokens = tokens.cpu()
        self.cross_entropy[windows][tokens] = statistics.cross_entropy.cpu().double()
        self.correct[windows][tokens] = statistics.correct.cpu()
        self.left_at[windows][tokens] = block


def attended(result: Pass, blocks: int, config: RunConfig) -> Tensor:
    """Return the share of each window's tokens that left before each block and are attended to there, `[N, K]`."""
    found = []
    for block in range(blocks):
        there = result.left_at >= block  # [N, T]
        found.append((in_reach(there, causal=config.model.causal) & ~there).double().mean(1))
    return torch.stack(found, dim=1)


def flop_savings(result: Pass, cost: ExitCosts, config: RunConfig) -> tuple[float, ...]:
    """Return the share of the FLOPs that early exit saves in each window; keys and values count if attended to."""
    blocks = len(cost.model.block_layers)
    if cost.exited_state == "input":  # tokens that left run through
        return _of_windows(result.left_at, cost.savings_if_attended)
    shares = torch.stack([(result.left_at == block).double().mean(1) for block in range(blocks)], dim=1)  # [N, K]
    return tuple(map(cost.savings, shares.tolist(), attended(result, blocks, config).tolist()))


def oracle(static: Sequence[Pass]) -> Pass:
    """Return the pass on which every token exits at the block with its lowest loss, the earliest if several have it.

    It is a bound: no method can know these losses.
    """
    losses = torch.stack([depth.cross_entropy for depth in static])  # [K, N, T]
    best = losses.min(0)  # values and indices, [N, T]
    correct = torch.stack([depth.correct for depth in static]).gather(0, best.indices[None])[0]  # [N, T]
    return Pass(best.values, correct, best.indices)


def measured(
    stage: str, way: Way, result: Pass, config: RunConfig, block: int | None = None, cost: ExitCosts | None = None
) -> Measured:
    """Summarise a pass over the evaluation split as an event; `cost`: of early exit, for the FLOPs of each window.

    Layers are saved where no token needed them (`Pass.ran_to`).
    """
    layers, ran_to = config.model.block_layers, result.ran_to(config)
    shares, ran = (_shares(blocks, len(layers)) for blocks in (result.left_at, ran_to))
    per_block = layers_saved(layers)
    saved = _of_windows(ran_to, per_block)
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
        layer_savings=share_of_layers_saved(ran, layers),
        window_losses=tuple(result.cross_entropy.mean(1).tolist()),
        window_accuracies=tuple(result.correct.double().mean(1).tolist()),
        window_savings=saved,
        window_flop_savings=() if cost is None else flop_savings(result, cost, config),
    )


def _shares(blocks: Tensor, count: int) -> tuple[float, ...]:
    """Return the share of each of `count` blocks among block numbers `[N, T]`."""
    return tuple(float((blocks == block).double().mean()) for block in range(count))


def _of_windows(blocks: Tensor, per_block: Sequence[float]) -> tuple[float, ...]:
    """Return the mean over each window of a figure that tokens have by a block of theirs `[N, T]`, given per block."""
    return tuple(torch.tensor(per_block, dtype=torch.float64)[blocks].mean(1).tolist())


@torch.no_grad()
def static_depths(
    model: Transformer, windows: Windows, batch: slice, depths: int, config: RunConfig, extras: Extras = NO_EXTRAS
) -> list[Observation]:
    """Run all tokens through the first `depths` blocks, and compute the statistics of each.

    Returns:
        An observation of all tokens for each of these blocks, with its statistics and those of the later ones.
    """
    states, targets = model.embed(windows.inputs[batch]), windows.targets[batch]  # [B, T, D], [B, T]
    tokens = torch.arange(targets.numel(), device=targets.device) + batch.start * targets.shape[1]  # [B · T]
    seen: list[Observation] = []
    for depth in range(depths):
        entered, states = states, model.blocks[depth](states)
        rows = states.flatten(0, 1)  # [B · T, D]
        hidden = model.readout(depth, rows)  # [B · T, D]
        statistics = token_statistics(hidden, model.head_weight(depth), targets.flatten(), extras)
        saved = saved_by_leaving(config, model.embedding.num_embeddings, depth)
        entered = entered.flatten(0, 1)
        seen.append(Observation(hidden, rows, entered, tokens, depth, config.seed, statistics, saved=saved))
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
    """Run a batch with early exit, and store the results of its tokens in `result`.

    A token exits at the first block where its signal reaches the threshold; a block without a threshold has no exit.
    On the CPU, each thread takes windows of its own.

    Args:
        foreseen: statistics of each block when all tokens go through all blocks, for methods that `foresee`.
        states: implementation of early exit.
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
    """Run one thread's windows of `early_exit`; the foreseen statistics begin at window `foreseen_from`."""
    method, targets = exit_method(config.method), windows.targets[batch]
    width = targets.shape[1]
    token = torch.arange(targets.numel(), device=targets.device).view_as(targets) + batch.start * width  # [B, T]
    walk = states(model, windows.inputs[batch], config.exit.exited_state)
    arrival = go_on(walk)
    while arrival is not None:
        block, statistics = arrival.block, None
        leaves = torch.full_like(arrival.hidden[:, 0], block == len(model.blocks) - 1, dtype=torch.bool)  # [n]
        if block < len(thresholds) and is_on(thresholds[block]):
            here = token[arrival.tokens]  # [n]
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
                saved=saved_by_leaving(config, model.embedding.num_embeddings, block),
            )
            leaves = method.signal(seen, model.classifier(block)) >= thresholds[block]
        leaving = arrival.tokens.masked_scatter(arrival.tokens, leaves)  # [B, T]
        if statistics is None:
            statistics = token_statistics(arrival.hidden[leaves], model.head_weight(block), targets[leaving])
        else:
            statistics = statistics[leaves]
        result.fill(batch, leaving, statistics, block)
        arrival = go_on(walk, leaves)
