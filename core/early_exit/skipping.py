"""Early exit that really skips: a token that has left costs the keys and values that others attend to, or nothing.

Tokens that are still in are packed, `[S, D]` over all windows, and everything but attention is done on them alone.
`copy`: a token that has left keeps its state, so all that later layers compute of it is keys and values; once nobody
can attend to it, not even that. `drop`: the others attend among themselves.

The same as `core.early_exit.masked.early_exit_states`, which computes everything and throws it away; and of the same
kind.

Shapes: B windows, T tokens of a window, D model width; S tokens that are still in, E that have left and are attended
to.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.early_exit.fused_layer import attention_of, lean_layers, left_reading, rotations, turn
from core.early_exit.masked import Arrival, Walk, early_exit_states
from core.early_exit.packed_attention import Crowd, pack
from core.model import Block, ExitedState, Transformer


def skipping_states(model: Transformer, words: Tensor, exited_state: ExitedState) -> Walk:
    """Send words `[B, T]` through the model, block by block, each with the tokens that the caller let stay.

    With `input`, tokens that have left run through like all others, so there is nothing to skip. The walk ends after
    the last block, or when all have left. Nothing is kept for a gradient.
    """
    if exited_state == "input":
        return early_exit_states(model, words, exited_state)
    return _walk(model, words, drop=exited_state == "drop")


def _walk(model: Transformer, words: Tensor, *, drop: bool) -> Walk:
    states = model.embed(words).flatten(0, 1)
    crowd, left = Crowd.everyone(words), states[:0]
    for index, block in enumerate(cast(Sequence[Block], model.blocks)):
        entered, states = states, _through(block, states, crowd, left, drop=drop)
        leaves = yield Arrival(index, crowd.mask, entered, states, model.readout(index, states))
        leaving, staying = leaves.nonzero().squeeze(1), (~leaves).nonzero().squeeze(1)
        if not len(staying):
            return
        if not len(leaving):
            continue
        crowd = crowd.without(leaving, staying)
        if not drop:
            left = torch.cat((left, left_reading(block, states.index_select(0, leaving))))
            reached = crowd.reached(causal=block.causal)
            crowd, left = crowd.keeping(reached), left.index_select(0, reached)
        states = states.index_select(0, staying)


@torch.no_grad()
def _through(block: Block, states: Tensor, crowd: Crowd, left: Tensor, *, drop: bool) -> Tensor:
    """The tokens that are still in, `[S, D]` to `[S, D]`, through a block.

    Args:
        left: what keys and values of the others are made of, `[E, D]`; of no matter where `drop`.
    """
    packing = pack(crowd, attention_of(block).num_heads, causal=block.causal, drop=drop, states=states)
    places = crowd.staying if drop else torch.cat((crowd.staying, crowd.left))
    turns = rotations(block, places % crowd.tokens)
    for layer in lean_layers(block):
        read = layer.read(states)
        keys_values = states.new_empty(len(places), 2 * states.shape[1])
        torch.mm(read, layer.keys_values.t(), out=keys_values[: len(states)])
        torch.mm(left, layer.left_keys_values.t(), out=keys_values[len(states) :])
        query = turn(F.linear(read, layer.query), turns[: len(states)])
        states = layer.finish(states, packing.attend(query, turn(keys_values, turns)))
    return states
