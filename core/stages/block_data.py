"""A block's training set, and how it is dealt in batches.

Shapes: N windows, T tokens of a window, D model width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from core.model import Transformer


@dataclass(frozen=True)
class BlockData:
    """Windows that a block reads, and the words that follow.

    Attributes:
        source: what `read` makes states of: word indices or states, first dimension N.
        read: batch of `source` to states `[B, T, D]`.
        targets: next words, int64 `[N, T]`.
        active: tokens that are still in, bool `[N, T]`, on which alone the block is trained and judged; None: all.
    """

    source: Tensor
    read: Callable[[Tensor], Tensor]
    targets: Tensor
    active: Tensor | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, windows: slice) -> "BlockData":
        """Some of the windows."""
        return replace(self, source=self.source[windows], targets=self.targets[windows], active=self.active_in(windows))

    @property
    def tokens(self) -> int:
        """How many count."""
        return self.targets.numel() if self.active is None else int(self.active.sum())

    def states(self, windows: Tensor | slice) -> Tensor:
        """States of some windows as the block is to see them, `[B, T, D]`."""
        return self.read(self.source[windows])

    def active_in(self, windows: Tensor | slice) -> Tensor | None:
        """Which tokens of some windows are still in, `[B, T]`; None: all."""
        return None if self.active is None else self.active[windows]

    def active_targets(self, windows: Tensor | slice) -> Tensor:
        """The words that follow the tokens which are still in, in order."""
        return among(self.targets[windows], self.active_in(windows))


def from_words(model: Transformer, inputs: Tensor, targets: Tensor) -> BlockData:
    """What block 0 reads: embedded words `[N, T]`."""
    return BlockData(inputs, model.embed, targets)


def from_states(states: Tensor, targets: Tensor, active: Tensor | None = None) -> BlockData:
    """What a later block reads: states `[N, T, D]` of the block before it."""
    return BlockData(states, lambda batch: batch, targets, active)


def among(values: Tensor, active: Tensor | None) -> Tensor:
    """Those of the values `[B, T, …]` whose tokens are still in, in order: `[n, …]`."""
    return values.flatten(0, 1) if active is None else values[active]
