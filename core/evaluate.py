"""What the model is worth on the evaluation split: early exit, and every static way through it on the same tokens.

Shapes: N windows, T tokens of a window, D model width, K blocks.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core import costs
from core.config import RunConfig
from core.data.windows import Windows
from core.early_exit import EarlyExitStates, early_exit_states, go_on
from core.events import (
    Event,
    Measured,
    StageStarted,
    Step,
    TokensMeasured,
    Warned,
    perplexity,
    share_of_layers_saved,
)
from core.exits import Observation, exit_method
from core.losses import NO_EXTRAS, Extras, TokenStatistics, token_statistics
from core.model import Transformer
from core.profile import UNPROFILED, Clock
from core.stages.batches import in_order

LARGEST_RATE_GAP = 0.05
"""Difference between target and realised exit rate above which the reader is warned."""


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


@dataclass(frozen=True)
class Trace:
    """What one block says of every evaluated token when all go through it; kept on the CPU.

    Attributes:
        signal: exit signal, float32 `[N, T]`; None for the last block, and where there are no exits.
        max_prob: the largest probability, float32 `[N, T]`.
        prediction: the most probable word, int32 `[N, T]`.
    """

    signal: Tensor | None
    max_prob: Tensor
    prediction: Tensor

    @staticmethod
    def empty(like: Tensor, *, exits: bool) -> "Trace":
        """Room for the tokens of `like [N, T]`."""
        signal = torch.empty(like.shape, dtype=torch.float32) if exits else None
        return Trace(signal, torch.empty(like.shape, dtype=torch.float32), torch.empty(like.shape, dtype=torch.int32))

    def fill(self, windows: slice, statistics: TokenStatistics, signal: Tensor | None) -> None:
        """Note what the block says of the tokens of those windows."""
        shape = self.max_prob[windows].shape
        self.max_prob[windows] = statistics.max_prob.view(shape).cpu()
        self.prediction[windows] = statistics.prediction.view(shape).cpu()
        if self.signal is not None and signal is not None:
            self.signal[windows] = signal.view(shape).cpu()


def evaluate(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, None]:
    """Measure early exit, each block alone, all blocks and the oracle on the same tokens.

    Args:
        thresholds: one for every block but the last; none at all where there are no exits.
    """
    batches = tuple(in_order(len(windows.inputs), config.train.batch_size))
    depths, head = range(len(model.blocks)), costs.head_flops(config.model, len(model.head.weight))
    reads_heads = bool(thresholds) and exit_method(config.method).reads_head
    layers = sum(costs.block_flops(config.model, depth, windows.targets.shape[1]) for depth in depths)
    heads = sum(config.exit.hard_ratio**depth for depth in depths) if reads_heads else 1  # should the thresholds hold
    flops = 2 * layers + (len(depths) + heads) * head
    yield StageStarted(stage, "evaluation", None, 1, len(batches), windows.targets.numel(), flops=flops)
    early, static = Pass.empty(windows.targets), [Pass.empty(windows.targets) for _ in depths]
    traces = [Trace.empty(windows.targets, exits=depth < len(thresholds)) for depth in depths]
    for step, batch in enumerate(batches, start=1):
        began, tokens = time.perf_counter(), windows.targets[batch].numel()
        with clock.part("each block", tokens * (layers + len(depths) * head)):
            foreseen = _static_passes(model, windows, batch, static, traces, config)
        with clock.part("early exit", tokens * layers):
            early_exit(model, thresholds, windows, batch, early, config, foreseen)
        yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
    clock.count("early exit", head * int((early.left_at + 1).sum() if reads_heads else early.left_at.numel()))
    results = [
        measured(stage, "early exit", early, config),
        *(measured(stage, f"block {depth} alone", static[depth], config) for depth in depths[:-1]),
        measured(stage, "all blocks", static[-1], config),
        measured(stage, "oracle", oracle(static), config),
    ]
    yield from results
    for depth, (result, trace) in enumerate(zip(static, traces, strict=True)):
        yield _tokens_measured(stage, depth, result, trace)


def evaluate_block(model: Transformer, block: int, windows: Windows, config: RunConfig, stage: str) -> Measured:
    """A block alone on the evaluation split, with the head as it is now, before later blocks move it."""
    alone = Pass.empty(windows.targets)
    for batch in in_order(len(windows.inputs), config.train.batch_size):
        *_, seen = static_depths(model, windows, batch, block + 1, config)
        alone.fill(batch, everyone(windows.targets[batch]), seen.known, block)
    return measured(stage, f"block {block} as trained", alone, config)


def oracle(static: Sequence[Pass]) -> Pass:
    """Every token leaves at the block with the lowest loss, the earliest among equals: a bound, not a method."""
    losses = torch.stack([depth.cross_entropy for depth in static])
    best = losses.min(0)
    correct = torch.stack([depth.correct for depth in static]).gather(0, best.indices[None])[0]
    return Pass(best.values, correct, best.indices)


def measured(stage: str, name: str, result: Pass, config: RunConfig) -> Measured:
    """Summarise a pass over the evaluation split."""
    layers = config.model.block_layers
    shares = tuple(float((result.left_at == block).double().mean()) for block in range(len(layers)))
    return Measured(
        stage=stage,
        name=name,
        split="eval",
        token_set="all",
        tokens=result.cross_entropy.numel(),
        loss=float(result.cross_entropy.mean()),
        accuracy=float(result.correct.double().mean()),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
        window_losses=tuple(result.cross_entropy.mean(1).tolist()),
    )


def _tokens_measured(stage: str, block: int, result: Pass, trace: Trace) -> TokensMeasured:
    return TokensMeasured(
        stage=stage,
        block=block,
        cross_entropy=_as_bytes(result.cross_entropy.float()),
        signal=b"" if trace.signal is None else _as_bytes(trace.signal),
        max_prob=_as_bytes(trace.max_prob),
        prediction=_as_bytes(trace.prediction),
    )


def _as_bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


def everyone(targets: Tensor) -> Tensor:
    """The mask of all tokens."""
    return torch.ones_like(targets, dtype=torch.bool)


@torch.no_grad()
def _static_passes(
    model: Transformer,
    windows: Windows,
    batch: slice,
    static: Sequence[Pass],
    traces: Sequence[Trace],
    config: RunConfig,
) -> list[TokenStatistics]:
    """Note what every block says of these windows when all tokens go through it; the statistics of each."""
    method = exit_method(config.method)
    seen = static_depths(model, windows, batch, len(static), config, method.extras)
    for depth, (observation, result, trace) in enumerate(zip(seen, static, traces, strict=True)):
        result.fill(batch, everyone(windows.targets[batch]), observation.known, depth)
        signal = None if trace.signal is None else method.signal(observation, model.classifier(depth))
        trace.fill(batch, observation.known, signal)
    return [observation.known for observation in seen]


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


@torch.no_grad()
def early_exit(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    batch: slice,
    result: Pass,
    config: RunConfig,
    foreseen: Sequence[TokenStatistics] = (),
    states: EarlyExitStates = early_exit_states,
) -> None:
    """Tokens leave at the first block whose signal reaches its threshold; without a threshold there is no exit.

    Args:
        foreseen: statistics of each block should all tokens go through all blocks, for methods that `foresee`.
        states: how tokens go through the model.
    """
    method, targets = exit_method(config.method), windows.targets[batch]
    position = torch.arange(targets.numel(), device=targets.device).view_as(targets)
    walk = states(model, windows.inputs[batch], config.exit.exited_state)
    arrival = go_on(walk)
    while arrival is not None:
        block, statistics = arrival.block, None
        leaves = torch.full_like(arrival.hidden[:, 0], block == len(model.blocks) - 1, dtype=torch.bool)
        if block < len(thresholds):
            here = position[arrival.tokens]
            if method.reads_head:
                head = model.head_weight(block)
                statistics = token_statistics(arrival.hidden, head, targets[arrival.tokens], method.extras)
            seen = Observation(
                hidden=arrival.hidden,
                output=arrival.output,
                entered=arrival.entered,
                tokens=here + batch.start * targets.shape[1],
                block=block,
                seed=config.seed,
                statistics=statistics,
                later=tuple(depth[here] for depth in foreseen[block + 1 :]) if method.foresees else (),
            )
            leaves = method.signal(seen, model.classifier(block)) >= thresholds[block]
        leaving = arrival.tokens.masked_scatter(arrival.tokens, leaves)
        if statistics is None:
            statistics = token_statistics(arrival.hidden[leaves], model.head_weight(block), targets[leaving])
        else:
            statistics = statistics[leaves]
        result.fill(batch, leaving, statistics, block)
        arrival = go_on(walk, leaves)


def judge(early: Measured, static: Iterable[Measured], config: RunConfig) -> Iterator[Warned]:
    """Warn where the exit rate is not what was asked for, and where a static depth is as cheap and no worse."""
    target = target_shallow_ratio(config)
    if abs(early.shallow_ratio - target) > LARGEST_RATE_GAP:
        yield Warned(
            f"{early.shallow_ratio:.1%} of the evaluated tokens left early; the thresholds were set for {target:.1%}"
        )
    for depth in static:
        if depth.layer_savings >= early.layer_savings and depth.loss <= early.loss:
            yield Warned(
                f"early exit (PPL {perplexity(early.loss):.2f}, {early.layer_savings:.1%} of layers saved) loses to "
                f"{depth.name} (PPL {perplexity(depth.loss):.2f}, {depth.layer_savings:.1%} saved)"
            )


def target_shallow_ratio(config: RunConfig) -> float:
    """Share of tokens that should leave before the last block, were the thresholds to hold: 1 − hard_ratio^(K−1)."""
    return 1 - config.exit.hard_ratio ** (len(config.model.block_layers) - 1)
