"""Tokens on their way through a model that they may leave early: the plain, masked implementation.

Everything is computed for all tokens and discarded for exited ones, so it saves nothing and defines what early exit
means. An implementation that really skips can replace `early_exit_states` and must give the same.

Shapes: B windows, T tokens of a window, D model width, n arriving tokens.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model import ExitedState, Transformer, carried


@dataclass(frozen=True)
class Arrival:
    """The active tokens at a block's exit.

    Attributes:
        block: the block that they have just gone through.
        tokens: mask of the active tokens, bool `[B, T]`.
        entered, output: their states before and after the block, `[n, D]`.
        hidden: the output after the block's readout, `[n, D]`.
    """

    block: int
    tokens: Tensor
    entered: Tensor
    output: Tensor
    hidden: Tensor


Walk = Generator[Arrival, Tensor, None]
"""Yields the arrivals at each block's exit in turn, and is sent a mask of those that leave there, bool `[n]`."""
EarlyExitStates = Callable[[Transformer, Tensor, ExitedState], Walk]


def early_exit_states(model: Transformer, token_ids: Tensor, exited_state: ExitedState) -> Walk:
    """Send token ids `[B, T]` through the model, block by block, each with the tokens that the caller lets stay."""
    states = model.embed(token_ids)  # [B, T, D]
    active = torch.ones_like(token_ids, dtype=torch.bool)
    for index, block in enumerate(model.blocks):
        output = block(states, active, exited_state)
        rows = output[active]  # [n, D]
        leaves = yield Arrival(index, active, states[active], rows, model.readout(index, rows))
        active = active.masked_scatter(active, ~leaves)
        states = carried(output, states, active, exited_state)


def go_on(walk: Walk, leaves: Tensor | None = None) -> Arrival | None:
    """Return the next arrivals, None after the last block; `leaves` is None for the first call only."""
    try:
        return next(walk) if leaves is None else walk.send(leaves)
    except StopIteration:
        return None
