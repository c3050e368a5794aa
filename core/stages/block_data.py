"""The training set of a block.

Shapes: N windows, B windows of a batch, T tokens of a window, D model width; n active tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from core.model import Transformer


@dataclass(frozen=True)
class BlockData:
    """Windows that a block reads, and the next token at each position.

    Attributes:
        source: input of `read`, token ids `[N, T]` or states `[N, T, D]`.
        read: function from a batch of `source` to states `[B, T, D]`.
        targets: ids of the next tokens, int64 `[N, T]`.
        active: mask of the tokens that the block is trained and evaluated on, bool `[N, T]`; None: all.
    """

    source: Tensor
    read: Callable[[Tensor], Tensor]
    targets: Tensor
    active: Tensor | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, windows: Tensor | slice) -> "BlockData":
        """Return the data of some of the windows."""
        return replace(self, source=self.source[windows], targets=self.targets[windows], active=self.active_in(windows))

    @property
    def tokens(self) -> int:
        """Number of active tokens."""
        return self.targets.numel() if self.active is None else int(self.active.sum())

    def states(self, windows: Tensor | slice) -> Tensor:
        """Return the block's input states of some windows, `[B, T, D]`."""
        return self.read(self.source[windows])

    def active_in(self, windows: Tensor | slice) -> Tensor | None:
        """Return the mask of the active tokens of some windows, bool `[B, T]`; None: all are active."""
        return None if self.active is None else self.active[windows]

    def active_targets(self, windows: Tensor | slice) -> Tensor:
        """Return the targets of the active tokens of some windows, in order, int64 `[n]`."""
        return select_active(self.targets[windows], self.active_in(windows))


def from_tokens(model: Transformer, inputs: Tensor, targets: Tensor) -> BlockData:
    """Return the data of block 0, which reads the embeddings of token ids `[N, T]`."""
    return BlockData(inputs, model.embed, targets)


def from_states(states: Tensor, targets: Tensor, active: Tensor | None = None) -> BlockData:
    """Return the data of a later block, which reads the states `[N, T, D]` of the block before it."""
    return BlockData(states, lambda batch: batch, targets, active)


def select_active(values: Tensor, active: Tensor | None) -> Tensor:
    """Return the values of the active tokens, in order: `[B, T, …]` to `[n, …]`."""
    return values.flatten(0, 1) if active is None else values[active]
