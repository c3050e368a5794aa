"""Early exit that really skips: an exited token costs the keys and values that others attend to, or nothing.

Active tokens are packed, `[S, D]` over all windows, and everything but attention is computed on them alone. `copy`: an
exited token keeps its state, so later layers compute only its keys and values, and not even these once no active token
can attend to it; `linear`, of pretrained models, is the same with maps in place of the layers. `drop`: active tokens
attend to active tokens only. `deferred`: an exited token runs on as long as an active one can attend to it, so that its
keys and values are exact, and stops for good where none can.

Gives the same as `core.early_exit.masked.early_exit_states`, which computes everything and discards it, through the
same interface.

Shapes: B windows, T tokens of a window, D model width; S active tokens, E exited tokens that are attended to.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.model import PretrainedModel
from core.early_exit.fused_layer import attention_of, exited_input, fused_layers, rotate_, rotations
from core.early_exit.masked import Arrival, Walk, early_exit_states
from core.early_exit.packed_attention import TokenPlaces, in_reach, pack
from core.early_exit.pretrained import pretrained_states
from core.model import Block, ExitedState, Transformer


def skipping_states(model: Transformer, token_ids: Tensor, exited_state: ExitedState) -> Walk:
    """Send token ids `[B, T]` through the model, block by block, each with the tokens that the caller lets stay.

    Under `input`, exited tokens run through like all others, so nothing is skipped. The walk ends after the last block,
    or when no token is active. No gradient is recorded.
    """
    if isinstance(model, PretrainedModel):
        return pretrained_states(model, token_ids, deferred=exited_state == "deferred")
    if exited_state == "deferred":
        return _deferred_walk(model, token_ids)
    if exited_state == "input":
        return early_exit_states(model, token_ids, exited_state)
    return _walk(model, token_ids, drop=exited_state == "drop")


def _walk(model: Transformer, token_ids: Tensor, *, drop: bool) -> Walk:
    states = model.embed(token_ids).flatten(0, 1)  # [S, D]
    places, exited = TokenPlaces.all_active(token_ids), states[:0]  # exited: inputs of keys and values, [E, D]
    for index, block in enumerate(cast(Sequence[Block], model.blocks)):
        entered, states = states, _run_block(block, states, places, exited, drop=drop)
        leaves = yield Arrival(index, places.mask, entered, states, model.readout(index, states))  # bool [S]
        leaving, staying = leaves.nonzero().squeeze(1), (~leaves).nonzero().squeeze(1)
        if not len(staying):
            return
        if not len(leaving):
            continue
        places = places.exit(leaving, staying)
        if not drop:
            exited = torch.cat((exited, exited_input(block, states.index_select(0, leaving))))
            attended = places.attended(causal=block.causal)
            places, exited = places.keep_exited(attended), exited.index_select(0, attended)
        states = states.index_select(0, staying)


def _deferred_walk(model: Transformer, token_ids: Tensor) -> Walk:
    states = model.embed(token_ids).flatten(0, 1)  # [S, D] of the tokens that run, active or needed by an active one
    places = TokenPlaces.all_active(token_ids)
    active = torch.ones_like(token_ids, dtype=torch.bool)  # [B, T]
    for index, block in enumerate(cast(Sequence[Block], model.blocks)):
        # the tokens that run are a beginning of each window, or all of it, so they attend to each other only
        entered, states = states, _run_block(block, states, places, states[:0], drop=True)
        arrived = active.flatten().index_select(0, places.active).nonzero().squeeze(1)  # [n], among the S
        rows = states.index_select(0, arrived)  # [n, D]
        leaves = yield Arrival(index, active, entered.index_select(0, arrived), rows, model.readout(index, rows))
        active = active.masked_scatter(active, ~leaves)
        if not active.any():
            return
        kept = in_reach(active, causal=block.causal).flatten().index_select(0, places.active).nonzero().squeeze(1)
        places, states = places.keep_active(kept), states.index_select(0, kept)


@torch.no_grad()
def _run_block(block: Block, states: Tensor, places: TokenPlaces, exited: Tensor, *, drop: bool) -> Tensor:
    """Run the active tokens through a block, `[S, D]` to `[S, D]`.

    Args:
        exited: inputs of the exited tokens' keys and values, `[E, D]`; ignored under `drop`.
    """
    packing = pack(places, attention_of(block).num_heads, causal=block.causal, drop=drop, states=states)
    attended = places.active if drop else torch.cat((places.active, places.exited))  # [S] or [S + E]
    angles = rotations(block, attended % places.tokens)
    for layer in fused_layers(block):
        read = layer.attention_input(states)  # [S, D]
        keys_values = states.new_empty(len(attended), 2 * states.shape[1])  # [S + E, 2D]
        torch.mm(read, layer.keys_values.t(), out=keys_values[: len(states)])
        torch.mm(exited, layer.exited_keys_values.t(), out=keys_values[len(states) :])
        query = rotate_(F.linear(read, layer.query), angles[: len(states)])  # [S, D]
        states = layer.finish(states, packing.attend(query, rotate_(keys_values, angles)))
    return states
