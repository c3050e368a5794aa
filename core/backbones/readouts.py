"""Readouts: what turns a block's states into what head and exit classifier read.

The final readout is the model's own norm (LayerSkip, Elhoushi et al. 2024); an affine one is the tuned lens (Belrose et
al. 2023): a residual linear map before that norm. All start as the final one, and compute in float32.

Shapes: N tokens, D model width.
"""

import copy
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

ReadoutKind = Literal["final", "norm", "affine", "mlp", "head"]


class Readout(nn.Module):
    """The model's final norm, in float32, shared by all exits; the base of all others, whose map comes before it."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def map(self, states: Tensor) -> Tensor:
        """Map states before the norm, `[N, D]` to `[N, D]`."""
        return states

    def forward(self, states: Tensor) -> Tensor:
        """Return what head and exit classifier read, `[N, D]` to `[N, D]`, float32."""
        hidden: Tensor = self.norm(self.map(states.float()))
        return hidden


class NormReadout(Readout):
    """A norm of its own."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(copy.deepcopy(norm).requires_grad_(True))


class AffineReadout(Readout):
    """`h + A h + b` before the model's norm."""

    def __init__(self, norm: nn.Module, dim: int) -> None:
        super().__init__(norm)
        self.linear = nn.Linear(dim, dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def map(self, states: Tensor) -> Tensor:
        mapped: Tensor = states + self.linear(states)
        return mapped


class MlpReadout(Readout):
    """`h + W₂ gelu(W₁ norm(h))` before the model's norm, as wide as the model."""

    def __init__(self, norm: nn.Module, dim: int) -> None:
        super().__init__(norm)
        self.rise, self.fall = nn.Linear(dim, dim), nn.Linear(dim, dim)
        nn.init.eye_(self.rise.weight)
        nn.init.zeros_(self.rise.bias)
        nn.init.zeros_(self.fall.weight)
        nn.init.zeros_(self.fall.bias)

    def map(self, states: Tensor) -> Tensor:
        mapped: Tensor = states + self.fall(F.gelu(self.rise(self.norm(states))))
        return mapped


def shared_norm(final_norm: nn.Module) -> nn.Module:
    """Return a copy of the model's norm before the head, in float32 and frozen, for all exits."""
    return copy.deepcopy(final_norm).float().requires_grad_(False)


def new_readout(kind: ReadoutKind, norm: nn.Module, dim: int) -> Readout:
    """Build an untrained readout; it predicts what the model's own norm does. A `head` of its own reads that norm.

    Args:
        norm: the `shared_norm` of all exits.
    """
    if kind == "norm":
        return NormReadout(norm)
    if kind == "affine":
        return AffineReadout(norm, dim)
    if kind == "mlp":
        return MlpReadout(norm, dim)
    return Readout(norm)
