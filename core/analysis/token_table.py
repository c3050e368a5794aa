"""A run's evaluated tokens as matrices: what every block says of each of them. The ground of all analyses.

All of it is of tokens that went through every block, so that each knows its whole context. Where exited tokens leave
another state behind for the later blocks to attend to, early exit as measured may differ from what is worked out here
at the same thresholds.

Shapes: K blocks, E exits (K - 1, or none), N tokens in windows of T, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.events import TokensMeasured
from core.store.tokens import EvaluationText

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Every block's statistics of every evaluated token.

    Attributes:
        cross_entropy: nats, float32 `[K, N]`.
        signal: exit signal, float32 `[E, N]`; the last block has none, and a run without exits has none at all.
        max_prob: largest probability, float32 `[K, N]`.
        prediction: most probable word, int32 `[K, N]`.
        inputs, targets: the word that each prediction follows, and the one that came, int32 `[N]`.
        seq_len: T; the model sees nothing of the window before.
    """

    cross_entropy: Floats
    signal: Floats
    max_prob: Floats
    prediction: Integers
    inputs: Integers
    targets: Integers
    seq_len: int

    @property
    def tokens(self) -> int:
        return len(self.targets)

    @property
    def windows(self) -> int:
        return self.tokens // self.seq_len

    @property
    def blocks(self) -> int:
        return len(self.cross_entropy)

    @property
    def exits(self) -> int:
        """Number of blocks that have an exit."""
        return len(self.signal)

    @cached_property
    def correct(self) -> Booleans:
        """Whether the most probable word is the target, `[K, N]`."""
        correct: Booleans = self.prediction == self.targets
        return correct

    @cached_property
    def mean_loss(self) -> Floats:
        """Mean loss of each block alone, nats, float64 `[K]`."""
        mean_loss: Floats = self.cross_entropy.mean(axis=1, dtype=np.float64)
        return mean_loss

    def excess(self, block: int) -> Floats:
        """Loss of leaving at a block above that of going through all blocks: nats, float64 `[N]`."""
        excess: Floats = np.subtract(self.cross_entropy[block], self.cross_entropy[-1], dtype=np.float64)
        return excess

    def left_at(self, thresholds: Sequence[float]) -> Integers:
        """Block that each token leaves at: the first whose signal reaches its threshold, else the last, int16 `[N]`.

        Thresholds are compared in the signal's type, as the model compares them.

        Args:
            thresholds: one for each exit; none at all: no token leaves early.

        Raises:
            ValueError: there are more or fewer of them.
        """
        if len(thresholds) not in (0, self.exits):
            raise ValueError(f"{self.exits} exits take as many thresholds, got {len(thresholds)}")
        left_at = np.full(self.tokens, self.blocks - 1, np.int16)
        for block in reversed(range(len(thresholds))):
            threshold = self.signal.dtype.type(thresholds[block])
            left_at = np.where(self.signal[block] >= threshold, np.int16(block), left_at)
        return left_at

    @cached_property
    def oracle(self) -> Integers:
        """Block with the lowest loss of each token, the earliest among equals, `[N]`: a bound, not a method."""
        oracle: Integers = self.cross_entropy.argmin(axis=0)
        return oracle

    def exit_shares(self, left_at: Integers) -> Floats:
        """Share of the tokens that leave at each block, `[K]`."""
        shares: Floats = np.bincount(left_at, minlength=self.blocks) / self.tokens
        return shares

    def of_windows(self, windows: Integers) -> "TokenTable":
        """The tokens of those windows only, in the order given."""

        def taken(values: NDArray[Any]) -> NDArray[Any]:
            cut = values.reshape(*values.shape[:-1], self.windows, self.seq_len)[..., windows, :]
            return cut.reshape(*values.shape[:-1], len(windows) * self.seq_len)

        return replace(
            self,
            cross_entropy=taken(self.cross_entropy),
            signal=taken(self.signal),
            max_prob=taken(self.max_prob),
            prediction=taken(self.prediction),
            inputs=taken(self.inputs),
            targets=taken(self.targets),
        )


def where_left(values: NDArray[Scalar], left_at: Integers) -> NDArray[Scalar]:
    """Value of each token at the block it leaves at: `[K, N]` to `[N]`."""
    if len(values) == 2:
        either: NDArray[Scalar] = np.where(left_at == 0, values[0], values[1])  # faster
        return either
    there: NDArray[Scalar] = np.take_along_axis(values, left_at[None], axis=0)[0]
    return there


def token_table(blocks: Sequence[TokensMeasured], text: EvaluationText) -> TokenTable:
    """Make matrices of what each block says, in the order of the blocks.

    Args:
        text: that they are of; the run may have evaluated a prefix of it only.

    Raises:
        ValueError: there are none, or their lengths do not fit.
    """
    if not blocks:
        raise ValueError("no block has statistics")
    cross_entropy = np.stack([np.frombuffer(block.cross_entropy, np.float32) for block in blocks])
    tokens = cross_entropy.shape[1]
    if not tokens or tokens % text.seq_len or len(text.targets) < tokens:
        raise ValueError(f"{tokens} tokens and {len(text.targets)} targets are no windows of {text.seq_len}")
    signals = [np.frombuffer(block.signal, np.float32) for block in blocks if block.signal]
    return TokenTable(
        cross_entropy=cross_entropy,
        signal=np.stack(signals) if signals else np.empty((0, tokens), np.float32),
        max_prob=np.stack([np.frombuffer(block.max_prob, np.float32) for block in blocks]),
        prediction=np.stack([np.frombuffer(block.prediction, np.int32) for block in blocks]),
        inputs=np.array(text.inputs, np.int32)[:tokens],
        targets=np.array(text.targets, np.int32)[:tokens],
        seq_len=text.seq_len,
    )
