"""A block that reads one text token by token and caches the keys and values of what it has read.

Shapes: D model width, H heads; R tokens that run through the block now, E tokens that left before it, P cached tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.early_exit.fused_layer import attention_of, exited_input, fused_layers, rotate_, rotations
from core.early_exit.packed_attention import Group, Packing
from core.model import Block


class CachedBlock:
    """A block with its present weights and a cache of keys and values for up to `window` tokens.

    Attributes:
        position: positions of the cached tokens, int64 `[P]`.
        keys_values: rotated keys, and values, of each layer, `[P, 2D]`.
    """

    def __init__(self, block: Block, window: int) -> None:
        self.block, self.layers = block, fused_layers(block)
        self.heads = attention_of(block).num_heads
        self.angles = rotations(block, torch.arange(window, device=block.cos.device))  # [window, D/2]
        self.clear()

    def clear(self) -> None:
        """Empty the cache."""
        self.position = torch.empty(0, dtype=torch.int64, device=self.angles.device)
        self.keys_values = [layer.keys_values.new_empty(0, len(layer.keys_values)) for layer in self.layers]

    def cut(self, length: int) -> None:
        """Forget the tokens at positions from `length` on."""
        kept = self.position < length  # [P]
        self.position = self.position[kept]
        self.keys_values = [rows[kept] for rows in self.keys_values]

    def exited_input(self, states: Tensor) -> Tensor:
        """Return what an exited token's keys and values are made of, `[E, D]` to `[E, D]`."""
        return exited_input(self.block, states)

    def read(self, states: Tensor, position: Tensor, exited: Tensor, exited_position: Tensor) -> tuple[Tensor, Tensor]:
        """Run tokens through the block, after all that was read before, `[R, D]` to `[R, D]`, and cache them.

        Args:
            position: positions of the R tokens, `[R]`.
            exited: inputs of the exited tokens' keys and values, `[E, D]`.
            exited_position: their positions, `[E]`.

        Returns:
            The states of the R tokens, and the inputs of the exited ones, which stay the same.
        """
        new = torch.cat((position, exited_position))  # [R + E]
        self.position = torch.cat((self.position, new))
        packing = Packing(self.heads, (self._group(position, alone=len(new) == 1),))
        angles = self.angles.index_select(0, new)
        for index, layer in enumerate(self.layers):
            read = layer.attention_input(states)
            added = (F.linear(read, layer.keys_values), F.linear(exited, layer.exited_keys_values))  # [R, 2D], [E, 2D]
            self.keys_values[index] = torch.cat((self.keys_values[index], rotate_(torch.cat(added), angles)))
            if len(states):
                query = rotate_(F.linear(read, layer.query), angles[: len(states)])
                states = layer.finish(states, packing.attend(query, self.keys_values[index]))
        return states, exited

    def _group(self, position: Tensor, *, alone: bool) -> Group:
        """Return one window whose tokens attend to everything cached up to their own position.

        Args:
            alone: whether a single token was added: it is the last and needs no bias.
        """
        bias = None
        if not alone:
            later = self.position > position[:, None]  # [R, P]
            bias = torch.zeros(later.shape, dtype=self.block.cos.dtype, device=later.device)
            bias = bias.masked_fill_(later, -torch.inf)[None, None]  # [1, 1, R, P]
        return Group(slice(0, 1), slice(0, len(position)), slice(0, len(self.position)), bias)
