"""Table of a run's evaluated tokens: every block's statistics of each token, as matrices; the basis of all analyses.

All tokens went through every block, so each attends to its whole context. If exited tokens have another state in later
blocks, measured early exit may differ from the results computed here at the same thresholds.

Shapes: K blocks, E exits (K - 1, or none), N tokens in windows of T, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.events import TokensMeasured
from core.pricing.thresholds import Floats as Floats  # re-exported
from core.pricing.thresholds import Integers as Integers
from core.pricing.thresholds import left_at
from core.store.tokens import EvaluationText

Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Every block's statistics of every evaluated token.

    Attributes:
        cross_entropy: loss in nats, float32 `[K, N]`.
        signal: exit signal, float32 `[E, N]`; the last block has none, and a run without exits has none at all.
        max_prob: largest probability, float32 `[K, N]`.
        prediction: id of the most probable token, int32 `[K, N]`.
        inputs, targets: ids of each token and of the next one, int32 `[N]`.
        seq_len: tokens of a window, T; no token attends to another window.
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
        """Whether the prediction is the target, `[K, N]`."""
        correct: Booleans = self.prediction == self.targets
        return correct

    @cached_property
    def mean_loss(self) -> Floats:
        """Mean loss of each block alone, nats, float64 `[K]`."""
        mean_loss: Floats = self.cross_entropy.mean(axis=1, dtype=np.float64)
        return mean_loss

    def excess(self, block: int) -> Floats:
        """Return each token's loss at a block above that of all blocks, nats, float64 `[N]`."""
        excess: Floats = np.subtract(self.cross_entropy[block], self.cross_entropy[-1], dtype=np.float64)
        return excess

    def left_at(self, thresholds: Sequence[float] | Floats) -> Integers:
        """Return the block that each token leaves at, int16 `[N]`.

        It is the first whose signal reaches its threshold, else the last. Thresholds are compared in the signal's
        dtype, as in the model.

        Args:
            thresholds: threshold of each exit; empty: no token exits early.

        Raises:
            ValueError: there are more or fewer of them.
        """
        if len(thresholds) not in (0, self.exits):
            raise ValueError(f"{self.exits} exits take as many thresholds, got {len(thresholds)}")
        if not len(thresholds):
            return np.full(self.tokens, self.blocks - 1, np.int16)
        return left_at(self.signal, thresholds)

    @cached_property
    def oracle(self) -> Integers:
        """Block with the lowest loss of each token, the earliest if several have it, `[N]`: a bound, not a method."""
        oracle: Integers = self.cross_entropy.argmin(axis=0)
        return oracle

    def exit_shares(self, left_at: Integers) -> Floats:
        """Return the share of the tokens that leave at each block, `[K]`."""
        shares: Floats = np.bincount(left_at, minlength=self.blocks) / self.tokens
        return shares

    def of_windows(self, windows: Integers) -> "TokenTable":
        """Return the table of those windows only, in the given order."""

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


def token_table(blocks: Sequence[TokensMeasured], text: EvaluationText, seq_len: int) -> TokenTable:
    """Build the table from the events of all blocks, in order.

    Args:
        text: text of the tokens; the run may have evaluated only its beginning.
        seq_len: tokens of the run's windows.

    Raises:
        ValueError: there are no events, or their lengths do not fit the text.
    """
    if not blocks:
        raise ValueError("no block has statistics")
    cross_entropy = np.stack([np.frombuffer(block.cross_entropy, np.float32) for block in blocks])  # [K, N]
    tokens = cross_entropy.shape[1]
    if not tokens or tokens % seq_len or len(text.targets) < tokens:
        raise ValueError(f"{tokens} tokens and {len(text.targets)} targets are no windows of {seq_len}")
    signals = [np.frombuffer(block.signal, np.float32) for block in blocks if block.signal]
    return TokenTable(
        cross_entropy=cross_entropy,
        signal=np.stack(signals) if signals else np.empty((0, tokens), np.float32),
        max_prob=np.stack([np.frombuffer(block.max_prob, np.float32) for block in blocks]),
        prediction=np.stack([np.frombuffer(block.prediction, np.int32) for block in blocks]),
        inputs=np.array(text.inputs, np.int32)[:tokens],
        targets=np.array(text.targets, np.int32)[:tokens],
        seq_len=seq_len,
    )
