"""Shortcut stage: fit the linear maps that stand in for the layers that exited tokens skip (`exited_state=linear`).

Layer by layer, on training windows: tokens of all exits before a layer, as the maps of earlier layers have them, are to
become the states that the model itself has after it. So each map also makes up for what those before it got wrong.

Shapes: N windows, T tokens of a window, D model width; n tokens but for the first of each window.
"""

import time
from collections.abc import Generator, Iterator
from typing import cast

import torch
from torch import Tensor

from core import costs
from core.backbones.model import PretrainedBlock, PretrainedModel
from core.backbones.shortcuts import Shortcut
from core.backbones.state_cache import StateCache
from core.config.derived import mapped_layers, shortcut_windows
from core.config.run_config import RunConfig
from core.events import Event, StageStarted, Step
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer
from core.parallel.world import world
from core.stages.least_squares import LeastSquares, inverse_length, with_constant
from core.stages.trainer import Weights

RIDGE = 1e-4
"""Share of the mean variance that is added to every direction's."""


@torch.no_grad()
def fit_shortcuts(
    model: Transformer, cache: StateCache, windows: int, config: RunConfig, stage: str, clock: Clock = UNPROFILED
) -> Generator[Event, None, Weights]:
    """Fit all shortcuts of a pretrained model, and load them. Of several processes the first one does.

    Args:
        cache: states after each block.
        windows: number of the first windows, which are those of training.

    Returns:
        The weights of the shortcuts, by their names in the model.
    """
    assert isinstance(model, PretrainedModel), "no other has shortcuts"
    assert model.shortcuts is not None, "the stage is planned where there are some"
    windows = shortcut_windows(windows, cache.seq_len)
    tokens, layer = windows * cache.seq_len, costs.layer_flops(config.model, cache.seq_len)
    mapped = mapped_layers(config.model.block_layers)
    fits = sum(exits * maps for exits, maps in enumerate(mapped)) / sum(mapped)  # exits whose tokens a map is fitted on
    flops = layer + fits * (costs.shortcut_flops(config.model) + costs.least_squares_flops(config.model.dim))
    yield StageStarted(stage, "statistics", None, 1, sum(mapped), tokens, flops=flops)
    if world().leads:
        began = time.perf_counter()
        fitting = _fit_each(model, cache, windows, clock, tokens * layer, tokens * (flops - layer))
        for step, _ in enumerate(fitting, start=1):
            yield Step(stage, 1, step, None, tokens, time.perf_counter() - began)
            began = time.perf_counter()
    return world().share(
        {f"shortcuts.{name}": weight.cpu().clone() for name, weight in model.shortcuts.state_dict().items()}
    )


def _fit_each(
    model: PretrainedModel, cache: StateCache, windows: int, clock: Clock, layer_flops: float, fit_flops: float
) -> Iterator[int]:
    """Fit one shortcut after the other on the first windows; yield the number of each layer that has its own."""
    assert model.shortcuts is not None, "the stage is planned where there are some"
    device, exited = model.embedding.weight.device, list[Tensor]()  # of each exit, [n, D]
    for index, block in enumerate(cast("list[PretrainedBlock]", list(model.blocks))[1:]):
        states = cache.states(index, slice(0, windows)).view(windows, cache.seq_len, -1).to(device, model.dtype)
        exited.append(_behind_the_first(states))
        for number in block.numbers:
            if str(number) not in model.shortcuts:
                return
            with clock.part("forward", layer_flops):
                states = torch.cat([block.run_alone(number, some) for some in states.split(cache.windows_at_once)])
            with clock.part("fit", fit_flops):
                _fit(cast(Shortcut, model.shortcuts[str(number)]), exited, states)
            yield number


def _fit(shortcut: Shortcut, exited: list[Tensor], states: Tensor) -> None:
    """Fit a shortcut, and put what it makes of the tokens of each exit in their place.

    Args:
        exited: what stands for the tokens of each exit before the layer, float32 `[n, D]`.
        states: the states after it, `[N, T, D]`.
    """
    fit, goal = LeastSquares(), _behind_the_first(states)  # [n, D]
    weight = inverse_length(goal)
    for rows in exited:
        fit.add(with_constant(rows) * weight, (goal - rows) * weight)
    down, up, constant = fit.solve_in(len(shortcut.down.weight), RIDGE)
    shortcut.down.weight.copy_(down)
    shortcut.up.weight.copy_(up)
    shortcut.up.bias.copy_(constant)
    shortcut.first.copy_(states[:, 0].float().mean(0))
    behind = torch.ones(len(goal), device=goal.device)  # none is at position 0
    for index, rows in enumerate(exited):
        exited[index] = shortcut(rows, behind)


def _behind_the_first(states: Tensor) -> Tensor:
    """Return the states of all tokens but the first of each window, `[N, T, D]` to float32 `[n, D]`."""
    return states[:, 1:].reshape(-1, states.shape[-1]).float()
