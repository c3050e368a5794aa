"""How many tokens and vocabulary entries the head works on at once, and how many tokens are worth a thread.

Memory is estimated from these, too, without importing torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunking:
    """Tokens of a chunk, and vocabulary entries of a tile of its logits."""

    tokens: int
    entries: int


SMALL_VOCABULARY = 8192
"""Largest vocabulary for which the logits of larger chunks take little memory."""
SMALL_CPU = Chunking(tokens=512, entries=1376)
"""What a chunk costs beside its matmuls counts for more, the fewer entries these have."""
CPU = Chunking(tokens=256, entries=1376)
"""A tile of float32 is 1.4 MB and stays in the cache until softmax and the next matmul have read it; matmuls slow down
with fewer tokens or entries. Rows a power of two apart would compete for the same few cache lines."""
ACCELERATOR = Chunking(tokens=1024, entries=1_000_000)
"""Few and large kernels."""

LEAST_SHARE = 128
"""Fewest tokens worth a thread of their own."""


def chunking(on_cpu: bool, vocab_size: int) -> Chunking:
    """Return the chunks of a head of this size, which each CPU thread, and any other device, works on."""
    if not on_cpu:
        return ACCELERATOR
    return SMALL_CPU if vocab_size <= SMALL_VOCABULARY else CPU
