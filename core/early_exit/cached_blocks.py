"""Blocks that cache keys and values while a text is read token by token: those of our models, and of pretrained ones.

Shapes: D model width, G heads of keys and values, d width of a head; R tokens that run through the block now, E tokens
that left before it, P tokens read so far.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from core.backbones.attention import within_window
from core.backbones.model import PretrainedBlock
from core.early_exit.kv_cache import CachedBlock
from core.model import Block

SMALLEST_ROOM = 256
"""Tokens that a cache has room for at first, if the window has."""


class CachedPretrainedBlock:
    """A pretrained block with a cache of keys and values for up to `window` tokens (as `CachedBlock`)."""

    def __init__(self, block: PretrainedBlock, window: int) -> None:
        self.block, self.window = block, window
        self.layers = [_LayerCache() for _ in block.layers]
        self.clear()

    def clear(self) -> None:
        """Empty the cache."""
        self.length = 0

    def cut(self, length: int) -> None:
        """Forget the tokens at positions from `length` on."""
        self.length = min(self.length, length)

    def exited_input(self, states: Tensor) -> Tensor:
        """Return what an exited token's keys and values are made of at first, `[E, D]`: the state it left with."""
        return states

    @torch.no_grad()
    def read(self, states: Tensor, position: Tensor, exited: Tensor, exited_position: Tensor) -> tuple[Tensor, Tensor]:
        """Run tokens through the block, after all that was read before, `[R, D]` to `[R, D]`, and cache them.

        Args:
            position: positions of the R tokens, `[R]`.
            exited, exited_position: states and positions of the tokens that left before, `[E, D]` and `[E]`.

        Returns:
            The states of the R tokens, and those of the exited ones for the next block.
        """
        self.length += len(position) + len(exited_position)
        block, rows, left = self.block, states[None], exited[None]  # [1, R, D], [1, E, D]
        inputs = block.layer_inputs(rows, position[None])
        left_inputs = block.layer_inputs(left, exited_position[None]) if len(exited_position) else inputs
        for number, layer, cache, own, theirs, seen in zip(
            block.numbers, block.layers, self.layers, inputs, left_inputs, block.windows, strict=True
        ):
            cache.begin(position, self.length, self.window)
            if len(exited_position):
                cache.put(exited_position, *block.family.keys_values(layer, left, theirs))
                left = block.instead(number, left, exited_position[None])
            if len(position):
                rows = block.family.run_layer(layer, rows, own, self._mask(position, seen), cache)
        return rows[0], left[0]

    def _mask(self, position: Tensor, seen: int | None) -> Tensor | None:
        """Return the mask of the tokens read, bool `[1, 1, R, P]`; None where one token sees all before it."""
        if len(position) == 1 and seen is None:
            return None
        return within_window(position[None], self.length, seen)


class _LayerCache:
    """The keys and values of one layer, `[1, G, n, d]` each, of which the first P are there; n grows up to the window.

    A context may be so long that its cache would not fit into the memory, though a text hardly ever fills it.
    """

    def __init__(self) -> None:
        self.keys_values: tuple[Tensor, Tensor] | None = None

    def begin(self, position: Tensor, length: int, window: int) -> None:
        """Prepare for tokens at those positions; `length` tokens will have been read with them."""
        self.position, self.length, self.window = position, length, window

    def put(self, position: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store keys and values `[1, G, n, d]` at their positions."""
        room = self.keys_values[0].shape[2] if self.keys_values else 0
        if self.keys_values is None or room < self.length:
            self._grow(keys, values, min(self.window, max(2 * room, self.length, SMALLEST_ROOM)))
        assert self.keys_values is not None, "there is room now"
        for kept, new in zip(self.keys_values, (keys, values), strict=True):
            kept.index_copy_(2, position, new)

    def _grow(self, keys: Tensor, values: Tensor, room: int) -> None:
        """Make room for that many tokens, with dtype and heads of those keys and values."""
        grown = tuple(each.new_zeros(*each.shape[:2], room, each.shape[3]) for each in (keys, values))
        for kept, new in zip(self.keys_values or (), grown, strict=False):
            new[:, :, : kept.shape[2]] = kept
        self.keys_values = grown[0], grown[1]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store what the layer made of its tokens; return all keys and values, `[1, G, P, d]` each."""
        self.put(self.position, keys, values)
        assert self.keys_values is not None, "they were just put there"
        own_keys, own_values = (kept.narrow(2, 0, self.length) for kept in self.keys_values)
        return own_keys, own_values


AnyCachedBlock = CachedBlock | CachedPretrainedBlock


def cached_block(block: nn.Module, window: int) -> AnyCachedBlock:
    """Return a block with a cache, of our own model or a pretrained one."""
    if isinstance(block, PretrainedBlock):
        return CachedPretrainedBlock(block, window)
    return CachedBlock(cast(Block, block), window)
