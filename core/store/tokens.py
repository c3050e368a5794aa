"""The text that runs were evaluated on: plain arrays, packed by zlib."""

from __future__ import annotations  # array[int] can't be evaluated before Python 3.12

import zlib
from array import array
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationText:
    """The evaluated tokens, one more than there are predictions, and what each entry of the vocabulary looks like.

    Runs on the same tokens share it, whatever their windows: each has evaluated a prefix, as long as its own arrays.
    """

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
    """Read a float32 array."""
    return array("f", packed)


def integers(packed: bytes) -> array[int]:
    """Unpack an int32 array."""
    return array("i", zlib.decompress(packed))
