"""Losses on overlapping windows, as the PPL of WikiText is often given: every token counts once, with more context.

All other figures of a run are of windows side by side, which predict their first tokens from hardly anything.

Shapes: N windows, T tokens of a window.
"""

import time
from collections.abc import Generator, Sequence
from statistics import fmean

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.data.batches import in_order
from core.data.windows import Windows, overlapping
from core.evaluation.passes import Pass, early_exit, measured
from core.evaluation.savings import exit_costs
from core.events import Event, Step, Strided
from core.exits import exit_method
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer

PART = "with a stride"
"""Part of the evaluation that it is, in a profile."""


def overlapping_batches(windows: Windows, config: RunConfig) -> int:
    """Return the number of batches of overlapping windows; 0 if the config asks for none."""
    if not config.data.stride:
        return 0
    tokens, width = windows.targets.numel(), windows.targets.shape[1]
    return len(list(in_order(len(range(0, tokens - width, config.data.stride)) + 1, config)))


def strided(
    model: Transformer,
    thresholds: Sequence[float],
    windows: Windows,
    config: RunConfig,
    stage: str,
    first_step: int,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, None]:
    """Measure all blocks, and early exit if there are exits that can be run, on overlapping windows; yield the losses.

    Args:
        windows: side by side.
        first_step: number of the first batch's step.
    """
    apart, counts = overlapping(windows, config.data.stride)
    full, early = Pass.empty(apart.targets), Pass.empty(apart.targets)
    exits = bool(thresholds) and not exit_method(config.method).foresees
    for step, batch in enumerate(in_order(len(apart.inputs), config), start=first_step):
        began = time.perf_counter()
        with clock.part(PART):
            early_exit(model, (), apart, batch, full, config)
            if exits:
                early_exit(model, thresholds, apart, batch, early, config)
        yield Step(stage, 1, step, None, apart.targets[batch].numel(), time.perf_counter() - began)
    cost = exit_costs(model.embedding.num_embeddings, config, thresholds)
    saved = measured(stage, "early exit", early, config, cost=cost).window_flop_savings if exits else ()
    clock.count(PART, apart.targets.numel() * cost.full * (1 + exits - (fmean(saved) if saved else 0)))
    yield Strided(
        stage=stage,
        stride=config.data.stride,
        tokens=int(counts.sum()),
        full=_mean(full, counts),
        early=_mean(early, counts) if exits else None,
    )


def _mean(result: Pass, counts: Tensor) -> float:
    """Return the mean loss of the tokens that count, nats."""
    return float(result.cross_entropy[counts.cpu()].mean(dtype=torch.float64))
