"""A layer on loose tokens with its matmuls fused; for evaluation and generation, which learn nothing.

The same sums as `core.model.Layer`, grouped differently. Keys and values are one matmul. The dimensions of each head
are reordered so that rotary pairs lie side by side, and a rotation is one multiplication of complex numbers, in place;
queries and keys are reordered alike, so their dot products stay. That alone makes a layer of width 64 twice as fast.

Shapes: N tokens, D model width.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model import Attention, Block, Layer


class FusedLayer:
    """The weights of a layer, fused.

    Attributes:
        query: projection of queries, pairs side by side, `[D, D]`.
        keys_values: projections of keys (pairs side by side) and values, `[2D, D]`.
        exited_keys_values: the same for exited tokens, whose input lacks the norm's weight (`exited_input`), `[2D, D]`.
    """

    def __init__(self, layer: Layer) -> None:
        attention = layer.attention
        pairs = _pair_order(attention)
        key, value = attention.key.weight[pairs], attention.value.weight
        self.layer = layer
        self.query = attention.query.weight[pairs]
        self.keys_values = torch.cat((key, value))
        self.exited_keys_values = self.keys_values * layer.attention_norm.weight if layer.pre_norm else self.keys_values

    def attention_input(self, states: Tensor) -> Tensor:
        """Return the input of the attention for states `[N, D]`, `[N, D]`."""
        normed: Tensor = self.layer.attention_norm(states) if self.layer.pre_norm else states
        return normed

    def finish(self, states: Tensor, mixed: Tensor) -> Tensor:
        """Return the layer's output `[N, D]` from its input states and the heads' output, both `[N, D]`."""
        layer = self.layer
        states = states + layer.attention.output(mixed)
        if layer.pre_norm:
            return states + self._feed_forward(layer.ffn_norm(states))
        states = layer.attention_norm(states)
        finished: Tensor = layer.ffn_norm(states + self._feed_forward(states))
        return finished

    def _feed_forward(self, states: Tensor) -> Tensor:
        """Compute `FeedForward`, its elementwise part in place."""
        ffn = self.layer.ffn
        output: Tensor = ffn.w2(F.silu(ffn.w1(states), inplace=True).mul_(ffn.w3(states)))
        return output


def fused_layers(block: Block) -> list[FusedLayer]:
    """Fuse a block's layers with the weights they have now."""
    return [FusedLayer(cast(Layer, layer)) for layer in block.layers]


def attention_of(block: Block) -> Attention:
    """Return the attention of a block's first layer; all layers have the same dimensions."""
    return cast(Layer, block.layers[0]).attention


def exited_input(block: Block, states: Tensor) -> Tensor:
    """Return the input of `exited_keys_values` for states that no layer changes any more, `[N, D]`.

    One input serves every later layer: under pre-norm the layers' norms differ in their weights only, and those are
    part of `exited_keys_values`.
    """
    layer = cast(Layer, block.layers[0])
    if not layer.pre_norm:
        return states
    return F.rms_norm(states, states.shape[-1:], eps=layer.attention_norm.eps)


def rotations(block: Block, position: Tensor) -> Tensor:
    """Return the rotations of queries and keys at these positions `[N]`, complex `[N, D/2]`."""
    half = block.cos.shape[1] // 2
    angles = torch.complex(block.cos[:, :half], block.sin[:, :half])
    return angles.index_select(0, position).repeat(1, attention_of(block).num_heads)


def rotate_(rows: Tensor, angles: Tensor) -> Tensor:
    """Rotate the first D columns of `rows`, queries or keys, in place.

    Args:
        rows: `[N, D]` or wider, pairs side by side.
        angles: complex `[N, D/2]`.
    """
    width = 2 * angles.shape[1]
    torch.view_as_complex(rows[:, :width].unflatten(1, (-1, 2))).mul_(angles)
    return rows


def _pair_order(attention: Attention) -> Tensor:
    """Order of all heads' dimensions, `[D]`, in which `i` and `i + head_dim/2` are neighbours."""
    weight = attention.query.weight
    dimensions = torch.arange(len(weight), device=weight.device)
    return dimensions.view(attention.num_heads, 2, -1).transpose(1, 2).flatten()
