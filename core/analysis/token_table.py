"""What the blocks of a run said of its evaluation tokens, as matrices: the ground that exits are judged on.

All of it is of tokens that went through every block, so that each knows its whole context. Where exited tokens leave
another state behind for the later blocks to attend to, early exit as measured may differ from what is worked out here
at the same thresholds.

Shapes: K blocks, N tokens in windows of T, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.store.tokens import BlockTokens

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Statistics of every block and token.

    Attributes:
        loss, max_prob: float32 `[K, N]`; the loss in nats. `prediction`: int32 `[K, N]`.
        signal: float32 `[K - 1, N]`, as the last block has no exit.
        targets: int32 `[N]`.
        seq_len: T.
    """

    loss: Floats
    signal: Floats
    max_prob: Floats
    prediction: Integers
    targets: Integers
    seq_len: int

    @property
    def tokens(self) -> int:
        return len(self.targets)

    @property
    def windows(self) -> int:
        return self.tokens // self.seq_len

    @property
    def exits(self) -> int:
        """How many blocks have an exit."""
        return len(self.signal)

    @cached_property
    def correct(self) -> Booleans:
        """Whether the most probable word is the target, `[K, N]`."""
        correct: Booleans = self.prediction == self.targets
        return correct

    @cached_property
    def mean_loss(self) -> Floats:
        """Of each block alone, nats, float64 `[K]`."""
        mean_loss: Floats = self.loss.mean(axis=1, dtype=np.float64)
        return mean_loss

    def excess(self, block: int) -> Floats:
        """What leaving at a block costs each token, over going through all blocks: nats, float64 `[N]`."""
        excess: Floats = np.subtract(self.loss[block], self.loss[-1], dtype=np.float64)
        return excess

    def of_windows(self, windows: Integers) -> "Recorded":
        """The tokens of those windows only, in the order given."""

        def taken(values: NDArray[Any]) -> NDArray[Any]:
            cut = values.reshape(*values.shape[:-1], self.windows, self.seq_len)[..., windows, :]
            return cut.reshape(*values.shape[:-1], -1)

        return replace(
            self,
            loss=taken(self.loss),
            signal=taken(self.signal),
            max_prob=taken(self.max_prob),
            prediction=taken(self.prediction),
            targets=taken(self.targets),
        )


def recorded(blocks: Sequence[BlockTokens], targets: Sequence[int], seq_len: int) -> Recorded:
    """Statistics as the store keeps them, as matrices.

    Args:
        targets: at least as many as there are tokens: runs may have evaluated a prefix of their text.

    Raises:
        ValueError: there are none, or their lengths do not fit.
    """
    if not blocks:
        raise ValueError("no block has statistics")
    tokens = len(blocks[0].cross_entropy)
    if not tokens or tokens % seq_len or len(targets) < tokens:
        raise ValueError(f"{tokens} tokens and {len(targets)} targets are no windows of {seq_len}")
    signals = [np.asarray(block.signal, np.float32) for block in blocks[:-1]]
    return Recorded(
        loss=np.stack([np.asarray(block.cross_entropy, np.float32) for block in blocks]),
        signal=np.stack(signals) if signals else np.empty((0, tokens), np.float32),
        max_prob=np.stack([np.asarray(block.max_prob, np.float32) for block in blocks]),
        prediction=np.stack([np.asarray(block.prediction, np.int32) for block in blocks]),
        targets=np.asarray(targets, np.int32)[:tokens],
        seq_len=seq_len,
    )
