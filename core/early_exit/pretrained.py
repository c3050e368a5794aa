"""Early exit of a pretrained model that really skips: a token that left costs the keys and values others attend to.

Gives the same as `core.early_exit.masked.early_exit_states` with exited state `copy`, `linear` or `deferred`, through
the same interface. The layers are transformers' own, run on the active tokens alone, and under `deferred` on those that
they attend to (`core.backbones.attention`).

Shapes: B windows, T tokens of a window, D model width; n active tokens, S tokens that run, E exited
tokens that do not run and are attended to.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from core.backbones.attention import Places, WindowedKeys
from core.backbones.model import PretrainedBlock, PretrainedModel
from core.early_exit.masked import Arrival, Walk
from core.early_exit.packed_attention import in_reach


def pretrained_states(model: PretrainedModel, token_ids: Tensor, *, deferred: bool = False) -> Walk:
    """Send token ids `[B, T]` through the model, block by block, each with the tokens that the caller lets stay.

    The walk ends after the last block, or when no token is active. No gradient is recorded.
    """
    states = model.embed(token_ids)  # [B, T, D]
    active = torch.ones_like(token_ids, dtype=torch.bool)  # [B, T]
    for index, block in enumerate(cast(Sequence[PretrainedBlock], model.blocks)):
        entered = states[active]  # [n, D]
        runs = in_reach(active, causal=True) if deferred else active  # [B, T], S of them
        states = block(states) if runs.all() else _run_block(block, states, runs)  # [B, T, D]
        output = states[active]  # [n, D]
        leaves = yield Arrival(index, active, entered, output, model.readout(index, output))  # bool [n]
        active = active.masked_scatter(active, ~leaves)
        if not active.any():
            return


@torch.no_grad()
def _run_block(block: PretrainedBlock, states: Tensor, active: Tensor) -> Tensor:
    """Run the tokens of a mask through a block, `[B, T, D]` to `[B, T, D]`.

    Args:
        active: mask of the tokens that run, bool `[B, T]`.
        states: of all tokens, those that left with what later tokens attend to. Of those that no token attends to any
            more they stay as they are.
    """
    after, some = states.clone(), active.any(1)  # [B], windows that have an active token
    active, states = active[some], states[some]  # [W, T], [W, T, D]
    places = Places.of(active)
    left_window, left_position = (in_reach(active, causal=True) & ~active).nonzero().unbind(1)  # [E]
    rows, left = states[active][None], states[left_window, left_position][None]  # [1, S, D], [1, E, D]
    inputs = block.layer_inputs(rows, places.position[None])
    left_inputs = block.layer_inputs(left, left_position[None])
    masks = {window: places.seen(window) for window in set(block.windows)}
    for number, layer, own, theirs, window in zip(
        block.numbers, block.layers, inputs, left_inputs, block.windows, strict=True
    ):
        keys, values = block.family.keys_values(layer, left, theirs)
        cache = WindowedKeys(places, keys, values, left_window, left_position)
        rows = block.family.run_layer(layer, rows, own | {"places": places}, masks[window], cache)
        left = block.instead(number, left, left_position[None])
    states[active] = rows[0]
    states[left_window, left_position] = left[0]
    after[some] = states
    return after
