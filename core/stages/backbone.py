"""Backbone stage: run a frozen model once over the training windows, and keep its states at every exit on disk.

Shapes: N windows, B windows of a batch, T tokens of a window, D model width.
"""

import time
from collections.abc import Generator

import torch
from torch import Tensor

from core import costs
from core.backbones.model import PretrainedModel
from core.backbones.state_cache import StateCache, cache_bytes, caches_folder, find_states, writing_states
from core.config.run_config import RunConfig
from core.data.batches import in_order
from core.events import Event, StageStarted, Step, Warned
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer

LARGE = 10**9
"""Bytes of a cache whose size is said before it is written."""


@torch.no_grad()
def cache_states(
    model: Transformer, inputs: Tensor, config: RunConfig, stage: str, clock: Clock = UNPROFILED
) -> Generator[Event, None, StateCache]:
    """Run all windows `[N, T]` through all blocks and return the cache of their states, or one that is there already.

    Raises:
        ConfigError: it does not fit on the disk.
    """
    batches, width = list(in_order(len(inputs), config)), inputs.shape[1]
    flops = sum(costs.block_flops(config.model, block, width) for block in range(len(model.blocks)))
    trained = model.trained_digest if isinstance(model, PretrainedModel) else ""
    found = find_states(inputs, config, trained)
    steps = 1 if found else len(batches)
    yield StageStarted(stage, "statistics", None, 1, steps, inputs.numel(), reused=bool(found), flops=flops)
    if found is None:
        if (size := cache_bytes(inputs.numel(), config)) >= LARGE:
            yield Warned(f"the states of {inputs.numel():,} tokens take {size / 1e9:,.1f} GB in {caches_folder()}")
        with writing_states(inputs, config, trained) as writer:
            for step, windows in enumerate(batches, start=1):
                began, tokens = time.perf_counter(), inputs[windows].numel()
                with clock.part("forward", tokens * flops):
                    states = model.embed(inputs[windows])  # [B, T, D]
                for block, layers in enumerate(model.blocks):
                    with clock.part("forward"):
                        states = layers(states)
                    with clock.part("data"):
                        writer.put(block, windows, states)
                yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
        found = find_states(inputs, config, trained)
    assert found is not None, "it was just written"
    return found
