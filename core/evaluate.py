"""What the model is worth on the evaluation split: early exit, and every static way through it on the same tokens.

Shapes: N windows, T tokens of a window, D model width, K blocks.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config import RunConfig
from core.data.windows import Windows
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
from core.exits import exit_method
from core.losses import TokenStatistics, token_statistics
from core.model import Transformer
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
        signal: exit signal, float32 `[N, T]`; None for the last block.
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
    model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig, stage: str
) -> Generator[Event, None, None]:
    """Measure early exit, each block alone, all blocks and the oracle on the same tokens.

    Args:
        thresholds: one for every block but the last.
    """
    batches = tuple(in_order(len(windows.inputs), config.train.batch_size))
    yield StageStarted(stage, "evaluation", None, 1, len(batches), windows.targets.numel())
    depths = range(len(model.blocks))
    early, static = Pass.empty(windows.targets), [Pass.empty(windows.targets) for _ in depths]
    traces = [Trace.empty(windows.targets, exits=depth < depths[-1]) for depth in depths]
    for step, batch in enumerate(batches, start=1):
        began = time.perf_counter()
        _static_depths(model, windows, batch, static, traces, config.method)
        _early_exit(model, thresholds, windows, batch, early, config.method)
        yield Step(stage, 1, step, None, windows.targets[batch].numel(), time.perf_counter() - began)
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
    static = [Pass.empty(windows.targets) for _ in range(block + 1)]
    for batch in in_order(len(windows.inputs), config.train.batch_size):
        _static_depths(model, windows, batch, static)
    return measured(stage, f"block {block} as trained", static[block], config)


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


@torch.no_grad()
def _static_depths(
    model: Transformer,
    windows: Windows,
    batch: slice,
    static: Sequence[Pass],
    traces: Sequence[Trace] = (),
    method_name: str = "",
) -> None:
    """All tokens go through the blocks, and every block's output is asked for its prediction."""
    states, targets = model.embedding(windows.inputs[batch]), windows.targets[batch]
    everyone = torch.ones_like(targets, dtype=torch.bool)
    for depth, result in enumerate(static):
        states = model.blocks[depth](states)
        hidden = states.flatten(0, 1)
        statistics = token_statistics(hidden, model.head.weight, targets.flatten())
        result.fill(batch, everyone, statistics, depth)
        if traces:
            signal = exit_method(method_name).signal(hidden, statistics, model.classifier(depth))
            traces[depth].fill(batch, statistics, signal)


@torch.no_grad()
def _early_exit(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    batch: slice,
    result: Pass,
    method_name: str,
) -> None:
    """Tokens leave at the first block whose signal reaches its threshold.

    As in the report, a token that has left goes on as it entered the block it left, and runs through every later
    block for the others to attend to; only its prediction is taken where it left.
    """
    method = exit_method(method_name)
    states, targets = model.embedding(windows.inputs[batch]), windows.targets[batch]
    staying = torch.ones_like(targets, dtype=torch.bool)
    last = len(model.blocks) - 1
    for depth, block in enumerate(model.blocks):
        output = block(states)
        hidden = output[staying]
        leaving = staying
        statistics = None
        if depth < last:
            if method.reads_head:
                statistics = token_statistics(hidden, model.head.weight, targets[staying])
            signal = method.signal(hidden, statistics, model.classifier(depth))
            leaves = signal >= thresholds[depth]
            leaving = staying.masked_scatter(staying, leaves)
            hidden = hidden[leaves]
            statistics = None if statistics is None else statistics[leaves]
        if statistics is None:
            statistics = token_statistics(hidden, model.head.weight, targets[leaving])
        result.fill(batch, leaving, statistics, depth)
        staying = staying & ~leaving
        states = torch.where(staying[..., None], output, states)


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
