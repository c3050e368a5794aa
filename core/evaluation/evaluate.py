"""Evaluation of a trained model: early exit and every fixed depth on the same tokens of the evaluation split.

Shapes: N windows, B windows of a batch, T tokens of a window.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from core.config.derived import COST_NAMES, target_shallow_ratio
from core.config.run_config import RunConfig
from core.costs import reading_flops
from core.data.batches import in_order
from core.data.windows import Windows
from core.evaluation.passes import Pass, early_exit, measured, oracle, static_depths
from core.evaluation.savings import exit_costs, measure_savings, rounds_to_time
from core.evaluation.strided import overlapping_batches, strided
from core.events import Event, Measured, Savings, StageStarted, Step, TokensMeasured, Warned
from core.exits import exit_method
from core.formulas import perplexity
from core.head.token_statistics import TokenStatistics
from core.intervals import over_windows
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.pretrained.place import is_pretrained
from core.pricing.policy import Outcome
from core.static_line import A_HAIR

LARGEST_RATE_GAP = 0.05
"""Difference between target and realised exit rate, or savings, above which a warning is given."""
ROUNDING = 1e-6
"""Nats a token by which equal losses may differ."""
LARGEST_STATE_COST = 0.05
"""Nats a token that the states of exited tokens may cost without a warning."""
LARGEST_FLOP_LOSS = 0.01
"""Share of the full model's FLOPs that exits may cost without a warning: classifiers alone cost almost nothing."""


@dataclass(frozen=True)
class BlockTrace:
    """One block's results for every evaluated token when all tokens go through it; kept on the CPU.

    Attributes:
        cross_entropy: loss in nats, float64 `[N, T]`.
        correct: whether the prediction is the target, bool `[N, T]`.
        max_prob: largest probability, float32 `[N, T]`.
        prediction: id of the most probable token, int32 `[N, T]`.
        signal: exit signal, float32 `[N, T]`; None for the last block, and without exits.
    """

    cross_entropy: Tensor
    correct: Tensor
    max_prob: Tensor
    prediction: Tensor
    signal: Tensor | None

    @staticmethod
    def empty(like: Tensor, *, exits: bool) -> "BlockTrace":
        """Return a trace with unfilled tensors for the tokens of `like [N, T]`."""
        return BlockTrace(
            cross_entropy=torch.empty(like.shape, dtype=torch.float64),
            correct=torch.empty(like.shape, dtype=torch.bool),
            max_prob=torch.empty(like.shape, dtype=torch.float32),
            prediction=torch.empty(like.shape, dtype=torch.int32),
            signal=torch.empty(like.shape, dtype=torch.float32) if exits else None,
        )

    def fill(self, windows: slice, statistics: TokenStatistics, signal: Tensor | None = None) -> None:
        """Store the statistics and signals `[B · T]` of those windows."""
        shape = self.max_prob[windows].shape
        for name in ("cross_entropy", "correct", "max_prob", "prediction"):
            getattr(self, name)[windows] = getattr(statistics, name).view(shape).cpu()
        if self.signal is not None and signal is not None:
            self.signal[windows] = signal.view(shape).cpu()

    def alone(self, block: int) -> Pass:
        """Return the pass on which every token exits at this block."""
        return Pass(self.cross_entropy, self.correct, torch.tensor(block).expand(self.correct.shape))

    def event(self, block: int) -> TokensMeasured:
        """Return the trace as an event for the store."""
        return TokensMeasured(
            block=block,
            cross_entropy=_as_bytes(self.cross_entropy.float()),
            signal=b"" if self.signal is None else _as_bytes(self.signal),
            max_prob=_as_bytes(self.max_prob),
            prediction=_as_bytes(self.prediction),
        )


def _as_bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


def evaluate(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, None]:
    """Measure early exit, each block alone, all blocks and the oracle on the same tokens; yield the results.

    Args:
        thresholds: threshold of every block but the last; empty without exits.
    """
    batches = tuple(in_order(len(windows.inputs), config))
    rounds = rounds_to_time(thresholds, config)
    again = overlapping_batches(windows, config)
    yield StageStarted(stage, "evaluation", None, 1, len(batches) + again + rounds, windows.targets.numel())
    depths, cost = range(len(model.blocks)), exit_costs(model.embedding.num_embeddings, config, thresholds)
    every_block = reading_flops(config.model, depths, cost.vocab_size, config.data.seq_len)
    early = Pass.empty(windows.targets)
    traces = [BlockTrace.empty(windows.targets, exits=depth < len(thresholds)) for depth in depths]
    for step, batch in enumerate(batches, start=1):
        began, tokens = time.perf_counter(), windows.targets[batch].numel()
        with clock.part("each block", tokens * every_block):
            foreseen = _each_block(model, windows, batch, traces, config)
        with clock.part("early exit"):
            early_exit(model, thresholds, windows, batch, early, config, foreseen)
        yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
    static = [trace.alone(depth) for depth, trace in enumerate(traces)]
    results = [
        measured(stage, "early exit", early, config, cost=cost if thresholds else None),
        *(measured(stage, "alone", static[depth], config, depth) for depth in depths[:-1]),
        measured(stage, "all blocks", static[-1], config),
        measured(stage, "oracle", oracle(static), config),
    ]
    yield from results
    if thresholds:
        yield from _costly_states(early, traces, config)
    if again:
        yield from strided(model, thresholds, windows, config, stage, len(batches) + 1, clock)
    flops = cost.full * (1 - fmean(results[0].window_flop_savings) if thresholds else 1)
    clock.count("early exit", results[0].tokens * flops)
    if thresholds:
        steps = range(len(batches) + again + 1, len(batches) + again + 1 + rounds)
        yield from measure_savings(model, thresholds, windows, config, results[0], cost, steps, clock)
    yield from (trace.event(depth) for depth, trace in enumerate(traces))


def evaluate_block(model: Transformer, block: int, windows: Windows, config: RunConfig, stage: str) -> Measured:
    """Measure a block alone on the evaluation split, before the training of later blocks changes the head."""
    trace = BlockTrace.empty(windows.targets, exits=False)
    for batch in in_order(len(windows.inputs), config):
        *_, seen = static_depths(model, windows, batch, block + 1, config)
        trace.fill(batch, seen.known)
    return measured(stage, "as trained", trace.alone(block), config, block)


def _costly_states(early: Pass, traces: Sequence[BlockTrace], config: RunConfig) -> Iterator[Warned]:
    """Warn if the states of exited tokens cost much: early exit against the same exits with all states exact."""
    exact = torch.stack([trace.cross_entropy for trace in traces]).gather(0, early.left_at[None])  # [1, N, T]
    cost = float((early.cross_entropy - exact).mean())
    if config.exit.exited_state != "deferred" and cost > LARGEST_STATE_COST:
        hint = (
            "; the layers of a pretrained model were never trained on such states"
            if is_pretrained(config.model.source)
            else ""
        )
        yield Warned(
            f"exited_state={config.exit.exited_state} costs {cost:.3f} nats: what later tokens attend to of those that "
            f"left is not what it would have been{hint}; {_remedy(config)}"
        )


def _remedy(config: RunConfig) -> str:
    """Return what to do about states that cost much."""
    linear = is_pretrained(config.model.source) and config.exit.exited_state != "linear"
    better = "exited_state=linear comes close to it, and " if linear else "exited_state="
    return f"{better}deferred keeps it exact, and saves less"


@torch.no_grad()
def _each_block(
    model: Transformer, windows: Windows, batch: slice, traces: Sequence[BlockTrace], config: RunConfig
) -> list[TokenStatistics]:
    """Run all tokens of these windows through all blocks; fill the traces, and return each block's statistics."""
    method = exit_method(config.method)
    seen = static_depths(model, windows, batch, len(traces), config, method.extras)
    for depth, (observation, trace) in enumerate(zip(seen, traces, strict=True)):
        signal = None if trace.signal is None else method.signal(observation, model.classifier(depth))
        trace.fill(batch, observation.known, signal)
    return [observation.known for observation in seen]


def judge(
    early: Measured, static: Iterable[Measured], saved: Savings, config: RunConfig, promised: Outcome | None = None
) -> Iterator[Warned]:
    """Warn of exits off their target, of exits that cost FLOPs, and of fixed depths that beat early exit.

    Args:
        static: fixed depths on the same windows. Each that saves as many layers, or a hair less, is named if its loss
            is lower by a clear difference.
        promised: what the thresholds gave where a price set them.
    """
    target = target_shallow_ratio(config.protocol, config.exit.hard_ratio, len(config.model.block_layers))
    deferred = config.exit.exited_state == "deferred"
    if promised:
        savings = saved.flops if config.exit.cost == "flops" else early.layer_savings
        if abs(savings - promised.savings) > LARGEST_RATE_GAP:
            yield Warned(
                f"{savings:.1%} of the {COST_NAMES[config.exit.cost]} were saved; the thresholds were set for "
                f"{promised.savings:.1%} ({config.exit.policy})"
                + ("; exited_state=deferred saves only what no later token needed" if deferred else "")
            )
    elif target is not None and abs(early.shallow_ratio - target) > LARGEST_RATE_GAP:
        yield Warned(
            f"{early.shallow_ratio:.1%} of the evaluated tokens left early; the thresholds were set for {target:.1%}"
        )
    if saved.flops < -LARGEST_FLOP_LOSS:
        yield Warned(
            f"early exit costs {-saved.flops:z.1%} more FLOPs than never exiting"
            + ("" if saved.break_even is None else f"; they break even at {saved.break_even:.1%} leaving early")
        )
    if saved.busy:
        yield Warned(f"the machine was busy while time savings were measured, so they may be off: {saved.busy}")
    distinct = {(depth.layer_savings, depth.loss): depth for depth in static}  # "as trained" under a frozen head
    for depth in distinct.values():
        if _loses(early, depth.loss, depth.window_losses) and depth.layer_savings >= early.layer_savings - A_HAIR:
            yield Warned(
                f"early exit (PPL {perplexity(early.loss):.2f}, {early.layer_savings:z.1%} of layers saved) "
                f"{'loses to' if depth.loss < early.loss - ROUNDING else 'does no better than'} "
                f"{depth.name} (PPL {perplexity(depth.loss):.2f}, {depth.layer_savings:z.1%} saved)"
            )


def _loses(early: Measured, loss: float, windows: Sequence[float]) -> bool:
    """Tell whether a loss on the same windows is lower than early exit's, clearly where their windows are known.

    One that is the same but for rounding counts as lower, as if all tokens leave at one block.
    """
    if loss > early.loss + ROUNDING or not windows or len(windows) != len(early.window_losses):
        return loss <= early.loss + ROUNDING
    found = over_windows([a - b for a, b in zip(early.window_losses, windows, strict=True)])
    return found is None or found.low >= -ROUNDING
