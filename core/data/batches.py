"""How windows are dealt in batches: shuffled for training, in order for everything that only reads.

Shapes: N windows.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.config.run_config import RunConfig

READ_TOKENS = 4096
"""Enough for a thread to read at full speed: with fewer, weights are fetched and operations called for a handful."""


MOST_READERS = 4
"""Threads that take so many each; more share them, or a batch would fill the memory."""


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
