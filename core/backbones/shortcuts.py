"""Shortcuts: what stands in for the layers that an exited token skips, so that others attend to something like it.

Residual linear maps of low rank (linear shortcuts, Yom Din et al. 2023, arXiv 2303.09435), one in place of each layer
between the first exit and the last layer, in float32. A window's first token carries huge states that tokens attend to
for want of anything better (attention sinks, Xiao et al. 2023, arXiv 2309.17453); no map of the others gets them right,
and they hardly depend on the text, so they are a constant.

Shapes: N tokens, D model width, r rank of a map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.config.derived import mapped_layers
from core.costs import shortcut_rank


class Shortcut(nn.Module):
    """`h + W₂ W₁ h + b` in place of a layer; `first` for the first token of a window."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        rank = shortcut_rank(dim)
        self.down, self.up = nn.Linear(dim, rank, bias=False), nn.Linear(rank, dim)
        self.first = nn.Parameter(torch.zeros(dim))
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """Map the states that would enter the layer to those that would leave it, `[..., D]` to `[..., D]`.

        Args:
            positions: places of the tokens in their window, of a shape that broadcasts to that of the tokens.
        """
        entered = states.float()
        left = entered + self.up(self.down(entered))
        return torch.where((positions == 0)[..., None], self.first, left).to(states.dtype)


class Shortcuts(nn.ModuleDict):
    """The shortcuts of a model, by the numbers of the layers that they stand in for.

    Args:
        block_layers: layers of each block.
    """

    def __init__(self, block_layers: Sequence[int], dim: int) -> None:
        first = block_layers[0]
        numbers = range(first, first + sum(mapped_layers(block_layers)))
        super().__init__({str(number): Shortcut(dim) for number in numbers})
        self.requires_grad_(False)  # they are fitted, not trained

    def instead(self, number: int, states: Tensor, positions: Tensor) -> Tensor:
        """Return what stands in for a layer's output (`Shortcut.forward`); without a shortcut there, the states."""
        found = self[str(number)] if str(number) in self else None
        mapped: Tensor = states if found is None else found(states, positions)
        return mapped
