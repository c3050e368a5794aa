"""What a family of pretrained models is: where the parts of transformers' modules are, and how a layer is called.

Layers stay transformers' own modules. A family says how their input is embedded, what each layer needs beside the
states, and how the keys and values of a state are computed without running the layer.

Shapes: B rows, T tokens of a row, D model width, H heads, G heads of keys and values, d width of a head.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


class KeyValueCache(Protocol):
    """What a layer calls with the keys and values of its tokens, `[B, G, T, d]`; returns those to attend to."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Dimensions:
    """The dimensions of a pretrained model, by the names of `ModelConfig`.

    Attributes:
        layers: number of layers.
        ffn: gated: three matrices; plain: two.
        vocab_size: number of tokens that it predicts.
        windows: how many of the latest tokens each layer attends to, itself included; None: all.
        tied: whether head and embedding are one matrix.
    """

    layers: int
    dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_dim: int
    ffn: str
    max_seq_len: int
    eps: float
    vocab_size: int
    windows: tuple[int | None, ...]
    tied: bool


class Family(ABC):
    """One family of architectures."""

    model_types: ClassVar[tuple[str, ...]]
    """Names of its architectures in transformers (`model_type`)."""
    cache_argument: ClassVar[str] = "cache"
    """Name of the keyword argument by which its layers take a cache."""

    @abstractmethod
    def dimensions(self, settings: Any) -> Dimensions:
        """Read the dimensions from transformers' configuration.

        Raises:
            ValueError: the model computes something that an exit can't; the message reads on after its name.
        """

    @abstractmethod
    def body(self, model: Any) -> Any:
        """Return the module of embedding, layers and final norm in a model with its head."""

    @abstractmethod
    def layers(self, body: Any) -> nn.ModuleList:
        """Return the layers, in order."""

    @abstractmethod
    def final_norm(self, body: Any) -> nn.Module:
        """Return the norm before the head."""

    @abstractmethod
    def embed(self, body: Any, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Embed tokens `[B, T]` at positions `[B, T]` or `[1, T]`: what the first layer reads, `[B, T, D]`."""

    @abstractmethod
    def layer_inputs(self, body: Any, states: Tensor, positions: Tensor) -> list[dict[str, Any]]:
        """Return, for each layer, its keyword arguments that follow from the positions (`[B, T]` or `[1, T]`).

        They fit states of the shape of `states`, and hold what `keys_values` needs as well.
        """

    @abstractmethod
    def keys_values(self, layer: Any, states: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Compute the keys and values that a layer makes of its input states `[B, T, D]`, `[B, G, T, d]` each.

        Args:
            inputs: the layer's `layer_inputs` for the positions of these states.
        """

    def run_layer(
        self,
        layer: Any,
        states: Tensor,
        inputs: dict[str, Any],
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Run a layer, `[B, T, D]` to `[B, T, D]`.

        Args:
            mask: tokens that each token attends to, bool `[B, 1, T, T']`; None: itself and all before it.
            cache: gives the keys and values to attend to.
        """
        output: Tensor = layer(states, attention_mask=mask, **{self.cache_argument: cache}, **inputs)
        return output


def in_heads(projected: Tensor, width: int) -> Tensor:
    """Split `[B, T, G·d]` into heads of a width: `[B, G, T, d]`."""
    heads: Tensor = projected.unflatten(-1, (-1, width)).transpose(1, 2)
    return heads


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first dimensions of each head `[B, G, T, d]`, as many as `cos` and `sin` (`[B, T, r]`) have."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    low, high = turned.chunk(2, dim=-1)
    rotated: Tensor = torch.cat((turned * cos + torch.cat((-high, low), dim=-1) * sin, rest), dim=-1)
    return rotated
