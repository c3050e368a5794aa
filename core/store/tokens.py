"""What is stored token by token: each block's statistics, and the text they are of. Plain arrays, packed by zlib."""

from __future__ import annotations  # array[float] can't be evaluated before Python 3.12

import zlib
from array import array
from dataclasses import dataclass


@dataclass(frozen=True)
class BlockTokens:
    """What one block says of every evaluated token, in order, when all of them go through all blocks.

    Attributes:
        cross_entropy: nats.
        signal: the exit signal of the run's method; empty for the last block.
        max_prob: the largest probability.
        prediction: the most probable word.
    """

    block: int
    cross_entropy: array[float]
    signal: array[float]
    max_prob: array[float]
    prediction: array[int]


@dataclass(frozen=True)
class EvaluationText:
    """The evaluated tokens, one more than there are predictions, and what each entry of the vocabulary looks like.

    Runs that differ in `batch_size` only share a text: each has evaluated a prefix of it, as long as its own arrays.
    """

    seq_len: int
    vocabulary: list[str]
    stream: array[int]

    @property
    def inputs(self) -> array[int]:
        """The token that each prediction follows."""
        return self.stream[:-1]

    @property
    def targets(self) -> array[int]:
        """The token that was to be predicted."""
        return self.stream[1:]


def floats(packed: bytes) -> array[float]:
    """The float32 array that was packed."""
    return array("f", zlib.decompress(packed))


def integers(packed: bytes) -> array[int]:
    """The int32 array that was packed."""
    return array("i", zlib.decompress(packed))
