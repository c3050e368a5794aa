"""Batches of windows: shuffled for training, in order for passes without training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.config.run_config import RunConfig

READ_TOKENS = 4096
"""Tokens of a batch for each thread: with fewer, loading weights and calling operations would dominate."""
WIDE_READ_TOKENS = 512
"""The same for a pretrained model, whose matmuls are large with far fewer tokens."""
MOST_READERS = 4
"""Largest number of threads for which a batch grows; beyond it a batch would take too much memory."""


def shuffled(windows: Tensor, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return window indices in random order, in batches of `batch_size`; the last may be smaller."""
    order = torch.randperm(len(windows), generator=generator)  # [windows]
    return torch.split(windows[order.to(windows.device)], batch_size)


def in_order(windows: int, config: RunConfig) -> Iterator[slice]:
    """Return slices of all windows in order, in the batches of a pass without training.

    They are at least as large as those of training: the results of a window depend on the others by rounding only.
    """
    size = max(config.train.batch_size, reading_windows(config))
    return (slice(start, start + size) for start in range(0, windows, size))


def reading_windows(config: RunConfig) -> int:
    """Return the number of windows in a batch that keeps all threads at full speed."""
    threads = min(max(1, config.machine.threads), MOST_READERS)
    tokens = WIDE_READ_TOKENS if config.model.pretrained else READ_TOKENS
    return max(1, tokens * threads // config.data.seq_len)
