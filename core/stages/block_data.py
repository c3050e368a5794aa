"""A block's training set, and how it is dealt in batches.

Shapes: N windows, T tokens of a window, D model width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.model import ExitedState, Transformer

READ_TOKENS = 4096
"""Enough for a thread to read at full speed: with fewer, weights are fetched and operations called for a handful."""

MOST_READERS = 4
"""Threads that take so many each; more share them, or a batch would fill the memory."""


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


def carried(output: Tensor, entered: Tensor, staying: Tensor | None, exited_state: ExitedState) -> Tensor:
    """The states `[B, T, D]` with which tokens go on from a block to the next.

    As they are, but for the report's rule (`input`): a token that has left goes on as it entered the block it left.

    Args:
        staying: tokens that are still in, bool `[B, T]`; None: all.
    """
    if staying is None or exited_state != "input":
        return output
    return torch.where(staying[..., None], output, entered)


def shuffled(windows: Tensor, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The window indices in random order, in batches of `batch_size` (the last may be smaller)."""
    order = torch.randperm(len(windows), generator=generator)
    return torch.split(windows[order.to(windows.device)], batch_size)


def in_order(windows: int, config: RunConfig) -> Iterator[slice]:
    """All windows in their order, in the batches of a pass that learns nothing.

    They are the training's or larger ones: what is read of a window depends on the others by rounding alone.
    """
    size = max(config.train.batch_size, reading_windows(config))
    return (slice(start, start + size) for start in range(0, windows, size))


def reading_windows(config: RunConfig) -> int:
    """How many windows are read at full speed at once, by all threads together."""
    threads = min(max(1, config.machine.threads), MOST_READERS)
    return max(1, READ_TOKENS * threads // config.data.seq_len)
