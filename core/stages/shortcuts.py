"""Shortcut stage: fit the linear maps that stand in for the layers that exited tokens skip (`exited_state=linear`).

Layer by layer, on training windows: tokens of all exits before a layer, as the maps of earlier layers have them, are to
become the states that the model itself has after it. So each map also makes up for what those before it got wrong.

Shapes: N windows, T tokens of a window, D model width; n tokens but for the first of each window.
"""

import time
from collections.abc import Generator
from typing import cast

import torch
from torch import Tensor

from core import costs
from core.backbones.model import PretrainedBlock, PretrainedModel
from core.backbones.shortcuts import Shortcut
from core.backbones.state_cache import StateCache
from core.config.derived import shortcut_windows
from core.config.run_config import RunConfig
from core.events import Event, StageStarted, Step
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.stages.least_squares import LeastSquares, inverse_length
from core.stages.trainer import Weights

RIDGE = 1e-4
"""Share of the mean variance that is added to every direction's."""


@torch.no_grad()
def fit_shortcuts(
    model: Transformer, cache: StateCache, windows: int, config: RunConfig, stage: str, clock: Clock = UNPROFILED
) -> Generator[Event, None, Weights]:
    """Fit all shortcuts of a pretrained model, and load them.

    Args:
        cache: states after each block.
        windows: number of the first windows, which are those of training.

    Returns:
        The weights of the shortcuts, by their names in the model.
    """
    assert isinstance(model, PretrainedModel), "no other has shortcuts"
    assert model.shortcuts is not None, "the stage is planned where there are some"
    windows = shortcut_windows(windows, cache.seq_len)
    tokens, steps = windows * cache.seq_len, len(model.shortcuts)
    flops = steps * (costs.layer_flops(config.model, cache.seq_len) + costs.shortcut_flops(config.model))
    yield StageStarted(stage, "statistics", None, 1, steps, tokens, flops=flops)
    device, exited, step = model.embedding.weight.device, list[Tensor](), 0  # of each exit, [n, D]
    for index, block in enumerate(cast("list[PretrainedBlock]", list(model.blocks))[1:]):
        states = cache.states(index, slice(0, windows)).view(windows, cache.seq_len, -1).to(device, model.dtype)
        exited.append(_behind_the_first(states))
        for number in block.numbers:
            if str(number) not in model.shortcuts:
                break
            step, began = step + 1, time.perf_counter()
            with clock.part("forward", tokens * costs.layer_flops(config.model, cache.seq_len)):
                for some in states.split(cache.windows_at_once):
                    some.copy_(block.run_alone(number, some))
            with clock.part("fit"):
                exited = _fit(cast(Shortcut, model.shortcuts[str(number)]), exited, states)
            yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
    return {f"shortcuts.{name}": weight.clone() for name, weight in model.shortcuts.state_dict().items()}


def _fit(shortcut: Shortcut, exited: list[Tensor], states: Tensor) -> list[Tensor]:
    """Fit a shortcut, and return what it makes of the tokens of each exit, `[n, D]`.

    Args:
        exited: what stands for the tokens of each exit before the layer, float32 on the CPU, `[n, D]`.
        states: the states after it, `[N, T, D]`.
    """
    fit, goal = LeastSquares(), _behind_the_first(states)  # [n, D]
    weight = inverse_length(goal)
    for rows in exited:
        fit.add(rows, goal - rows, weight)
    down, up, constant = fit.solve_in(len(shortcut.down.weight), RIDGE)
    shortcut.down.weight.copy_(down)
    shortcut.up.weight.copy_(up)
    shortcut.up.bias.copy_(constant)
    shortcut.first.copy_(states[:, 0].float().mean(0))
    ours = shortcut.cpu()
    mapped = [ours(rows, torch.ones(len(rows))) for rows in exited]
    shortcut.to(states.device)
    return mapped


def _behind_the_first(states: Tensor) -> Tensor:
    """Return the states of all tokens but the first of each window, `[N, T, D]` to float32 `[n, D]`, on the CPU."""
    return states[:, 1:].reshape(-1, states.shape[-1]).float().cpu()
