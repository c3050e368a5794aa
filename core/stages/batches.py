"""A block's training set, and how it is dealt in batches.

Shapes: N windows, T tokens of a window, D model width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model import Transformer


@dataclass(frozen=True)
class BlockData:
    """Windows that a block reads, and the words that follow.

    Attributes:
        source: what `read` makes states of: word indices or states, first dimension N.
        read: batch of `source` to states `[B, T, D]`.
        targets: next words, int64 `[N, T]`.
    """

    source: Tensor
    read: Callable[[Tensor], Tensor]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.source)

    @property
    def tokens(self) -> int:
        return self.targets.numel()

    def states(self, windows: Tensor | slice) -> Tensor:
        """States of some windows as the block is to see them, `[B, T, D]`."""
        return self.read(self.source[windows])


def from_words(model: Transformer, inputs: Tensor, targets: Tensor) -> BlockData:
    """What block 0 reads: embedded words `[N, T]`."""
    return BlockData(inputs, model.embedding, targets)


def from_states(states: Tensor, targets: Tensor) -> BlockData:
    """What a later block reads: states `[N, T, D]` of the block before it."""
    return BlockData(states, lambda batch: batch, targets)


def shuffled(windows: Tensor, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The window indices in random order, in batches of `batch_size` (the last may be smaller)."""
    order = torch.randperm(len(windows), generator=generator)
    return torch.split(windows[order.to(windows.device)], batch_size)


def in_order(windows: int, batch_size: int) -> Iterator[slice]:
    """All windows in their order, in batches."""
    return (slice(start, start + batch_size) for start in range(0, windows, batch_size))
