"""The way of tokens through a model that they may leave early: a plain, masked implementation.

Everything is computed for all tokens and thrown away for those that have left, so it saves nothing and shows exactly
what early exit means. Whatever really skips can take the place of `early_exit_states` and must give the same.

Shapes: B windows, T tokens of a window, D model width, n tokens that arrive.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model import ExitedState, Transformer, carried


@dataclass(frozen=True)
class Arrival:
    """The tokens that are still in when they come to a block's exit.

    Attributes:
        block: the block that they have just gone through.
        tokens: which they are, bool `[B, T]`.
        entered, output: their states before and after the block, `[n, D]`.
        hidden: the output after the block's readout, `[n, D]`.
    """

    block: int
    tokens: Tensor
    entered: Tensor
    output: Tensor
    hidden: Tensor


Walk = Generator[Arrival, Tensor, None]
"""Yields what arrives at each block's exit in turn, and is sent which of it leaves there, bool `[n]`."""
EarlyExitStates = Callable[[Transformer, Tensor, ExitedState], Walk]


def early_exit_states(model: Transformer, words: Tensor, exited_state: ExitedState) -> Walk:
    """Send words `[B, T]` through the model, block by block, each with the tokens that the caller let stay."""
    states = model.embed(words)
    staying = torch.ones_like(words, dtype=torch.bool)
    for index, block in enumerate(model.blocks):
        output = block(states, staying, exited_state)
        rows = output[staying]
        leaves = yield Arrival(index, staying, states[staying], rows, model.readout(index, rows))
        staying = staying.masked_scatter(staying, ~leaves)
        states = carried(output, states, staying, exited_state)


def go_on(walk: Walk, leaves: Tensor | None = None) -> Arrival | None:
    """What arrives next, None after the last block; `leaves` is None at the beginning alone."""
    try:
        return next(walk) if leaves is None else walk.send(leaves)
    except StopIteration:
        return None
