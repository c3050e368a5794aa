"""A block that reads one text word by word, and keeps the keys and values of what it has read.

Shapes: D model width; R words that run through the block now, E that have left before it, P that it has kept.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.early_exit.fused_layer import attention_of, lean_layers, rotations, turn
from core.early_exit.packed_attention import Group, Packing
from core.model import Block


class KeptBlock:
    """A block with the weights it has now, and its keys and values of up to `window` words."""

    def __init__(self, block: Block, window: int) -> None:
        self.block, self.layers = block, lean_layers(block)
        self.heads = attention_of(block).num_heads
        self.turns = rotations(block, torch.arange(window, device=block.cos.device))
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.position = torch.empty(0, dtype=torch.int64, device=self.turns.device)
        self.keys_values = [layer.keys_values.new_empty(0, len(layer.keys_values)) for layer in self.layers]

    def read(self, states: Tensor, position: Tensor, left: Tensor, left_position: Tensor) -> Tensor:
        """Words at these positions through the block, `[R, D]` to `[R, D]`, after all that was read before.

        Args:
            left: what keys and values are made of where words have left, `[E, D]`.
        """
        new = torch.cat((position, left_position))
        self.position = torch.cat((self.position, new))
        packing = Packing(self.heads, (self._group(position, alone=len(new) == 1),))
        turns = self.turns.index_select(0, new)
        for index, layer in enumerate(self.layers):
            read = layer.read(states)
            theirs = (F.linear(read, layer.keys_values), F.linear(left, layer.left_keys_values))
            self.keys_values[index] = torch.cat((self.keys_values[index], turn(torch.cat(theirs), turns)))
            if len(states):
                query = turn(F.linear(read, layer.query), turns[: len(states)])
                states = layer.finish(states, packing.attend(query, self.keys_values[index]))
        return states

    def _group(self, position: Tensor, *, alone: bool) -> Group:
        """Words that attend to all that is kept, up to their own position; one that comes alone is the last."""
        bias = None
        if not alone:
            later = self.position > position[:, None]
            bias = torch.zeros(later.shape, dtype=self.block.cos.dtype, device=later.device)
            bias = bias.masked_fill_(later, -torch.inf)[None, None]
        return Group(slice(0, 1), slice(0, len(position)), slice(0, len(self.position)), bias)
