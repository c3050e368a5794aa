"""Attention of packed tokens inside transformers' own layers.

Layers of a pretrained model run on the active tokens alone, one after the other in one row, so that all but attention
is computed for these only. Attention needs them window by window, beside the keys and values of tokens that left: the
layer's call of its cache sorts keys and values into windows, and its call of the attention function the queries.

Shapes: S active tokens; W windows that have any, A of them at most in one window, T tokens of a window; H heads, G
heads of keys and values, d width of a head.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.pretrained.library import transformers

NAME = "eetui"
"""Name under which transformers knows the attention function."""


@dataclass(frozen=True)
class Places:
    """Where active tokens stand, and which keys each attends to.

    Attributes:
        window: number of each token's window among the W, int64 `[S]`.
        position: its position in the window, int64 `[S]`.
        slot: its number among the window's active tokens, int64 `[S]`.
        windows, tokens, slots: W, T and A.
    """

    window: Tensor
    position: Tensor
    slot: Tensor
    windows: int
    tokens: int
    slots: int

    @staticmethod
    def of(active: Tensor) -> "Places":
        """Return the places of the active tokens, bool `[W, T]`, in order; each window has one at least."""
        window, position = active.nonzero().unbind(1)
        slot = (active.cumsum(1) - 1)[window, position]
        windows, tokens = active.shape
        return Places(window, position, slot, windows, tokens, int(active.sum(1).max()))

    def queries(self, packed: Tensor) -> Tensor:
        """Sort queries into windows, `[1, H, S, d]` to `[W, H, A, d]`; a slot without a token is 0."""
        sorted_ = packed.new_zeros(self.windows, self.slots, packed.shape[1], packed.shape[3])
        sorted_[self.window, self.slot] = packed[0].transpose(0, 1)
        return sorted_.transpose(1, 2)

    def seen(self, window: int | None) -> Tensor:
        """Return the keys that each slot attends to, bool `[W, 1, A, T]`, in a layer that sees `window` tokens."""
        positions = self.position.new_zeros(self.windows, self.slots)
        positions[self.window, self.slot] = self.position
        return within_window(positions, self.tokens, window)


class WindowedKeys:
    """A layer's cache that adds the keys and values of tokens that left, and sorts all into windows.

    Args:
        left_keys, left_values: of the tokens that left and are attended to, `[1, G, E, d]`.
        left_window, left_position: where these stand, int64 `[E]`.
    """

    def __init__(
        self, places: Places, left_keys: Tensor, left_values: Tensor, left_window: Tensor, left_position: Tensor
    ) -> None:
        self.places, self.left = places, (left_keys, left_values)
        self.window = torch.cat((places.window, left_window))
        self.position = torch.cat((places.position, left_position))

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return all keys and values by window, `[W, G, T, d]` each; a token that nobody attends to has 0."""
        own_keys, own_values = (
            self._sorted(torch.cat((own, left), 2)) for own, left in zip((keys, values), self.left, strict=True)
        )
        return own_keys, own_values

    def _sorted(self, packed: Tensor) -> Tensor:
        by_window = packed.new_zeros(self.places.windows, self.places.tokens, packed.shape[1], packed.shape[3])
        by_window[self.window, self.position] = packed[0].transpose(0, 1)
        return by_window.transpose(1, 2)


def within_window(positions: Tensor, length: int, window: int | None) -> Tensor:
    """Return which of `length` tokens those at `positions [B, T]` attend to, bool `[B, 1, T, length]`."""
    ago = positions[..., None] - torch.arange(length, device=positions.device)  # [B, T, length]
    seen = ago >= 0 if window is None else (ago >= 0) & (ago < window)
    return seen[:, None]


def use_packed_attention(body: Any) -> None:
    """Let a model's layers call `_attend`; without `places` it is transformers' own attention."""
    functions, masks = transformers().AttentionInterface, transformers().AttentionMaskInterface
    functions.register(NAME, _attend)
    masks.register(NAME, masks._global_mapping["sdpa"])
    body.config._attn_implementation = NAME


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    places: Places | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend, `[B, H, T, d]` to `[B, T, H, d]`; with `places`, packed tokens: `[1, H, S, d]` to `[1, S, H, d]`.

    Args:
        key, value: of packed tokens those by window, `[W, G, T, d]`.
        attention_mask: of packed tokens that of the slots, bool `[W, 1, A, T]`.
    """
    plain = transformers().AttentionInterface._global_mapping["sdpa"]
    if places is None:
        output, _ = plain(module, query, key, value, attention_mask, **options)
        return output, None
    output, _ = plain(module, places.queries(query), key, value, attention_mask, **options)  # [W, A, H, d]
    return output[places.window, places.slot][None], None
