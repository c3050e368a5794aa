"""A layer on loose tokens, as lean as this machine allows; for evaluation and generation, which learn nothing.

The same sums as `core.model.Layer`, put together otherwise. Keys and values are one product. The dimensions of each
head are reordered so that rotary pairs lie side by side, and turning them is one multiplication of complex numbers, in
place; query and key are reordered alike, so their products stay. That alone makes a layer of width 64 twice as fast.

Shapes: N tokens, D model width.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model import Attention, Block, Layer


class LeanLayer:
    """The weights of a layer, put together."""

    def __init__(self, layer: Layer) -> None:
        attention = layer.attention
        pairs = _pairs(attention)
        key, value = attention.key.weight[pairs], attention.value.weight
        self.layer = layer
        self.query = attention.query.weight[pairs]
        self.keys_values = torch.cat((key, value))
        self.left_keys_values = self.keys_values * layer.attention_norm.weight if layer.pre_norm else self.keys_values

    def read(self, states: Tensor) -> Tensor:
        """What attention reads of the states `[N, D]`."""
        read: Tensor = self.layer.attention_norm(states) if self.layer.pre_norm else states
        return read

    def finish(self, states: Tensor, mixed: Tensor) -> Tensor:
        """The layer's output states `[N, D]`, of its input states and what the heads have read."""
        layer = self.layer
        states = states + layer.attention.output(mixed)
        if layer.pre_norm:
            return states + self._feed_forward(layer.ffn_norm(states))
        states = layer.attention_norm(states)
        finished: Tensor = layer.ffn_norm(states + self._feed_forward(states))
        return finished

    def _feed_forward(self, states: Tensor) -> Tensor:
        """As `FeedForward`, in place."""
        ffn = self.layer.ffn
        output: Tensor = ffn.w2(F.silu(ffn.w1(states), inplace=True).mul_(ffn.w3(states)))
        return output


def lean_layers(block: Block) -> list[LeanLayer]:
    """A block's layers; weights as they are now."""
    return [LeanLayer(cast(Layer, layer)) for layer in block.layers]


def attention_of(block: Block) -> Attention:
    """The attention of the first layer; in what it is made of, all are alike."""
    return cast(Layer, block.layers[0]).attention


def left_reading(block: Block, states: Tensor) -> Tensor:
    """What `left_keys_values` of this block, and of all others, read of states that stay as they are, `[N, D]`.

    Where a norm comes first, it differs from layer to layer by its weights alone, and those are among the others.
    """
    layer = cast(Layer, block.layers[0])
    if not layer.pre_norm:
        return states
    return F.rms_norm(states, states.shape[-1:], eps=layer.attention_norm.eps)


def rotations(block: Block, position: Tensor) -> Tensor:
    """By what to turn queries and keys of tokens at these positions, complex `[N, D/2]`."""
    half = block.cos.shape[1] // 2
    turns = torch.complex(block.cos[:, :half], block.sin[:, :half])
    return turns.index_select(0, position).repeat(1, attention_of(block).num_heads)


def turn(rows: Tensor, turns: Tensor) -> Tensor:
    """Turn the first D columns of `rows`, queries or keys, in place."""
    width = 2 * turns.shape[1]
    torch.view_as_complex(rows[:, :width].unflatten(1, (-1, 2))).mul_(turns)
    return rows


def _pairs(attention: Attention) -> Tensor:
    """The order of all heads' dimensions in which `i` and `i + head_dim/2` are neighbours."""
    weight = attention.query.weight
    dimensions = torch.arange(len(weight), device=weight.device)
    return dimensions.view(attention.num_heads, 2, -1).transpose(1, 2).flatten()
