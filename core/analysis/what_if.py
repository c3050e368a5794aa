"""What if the thresholds were others? A run's per-token statistics of every block, and what follows from them.

All figures suppose that every token went through every block, so that each knows the whole context. In the run itself
a token that has left enters the later blocks as it entered the one it left, which changes what the others see there:
the measured loss of early exit may therefore differ from the one worked out here, at the same thresholds.

Shapes: K blocks, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.analysis.token_table import Recorded
from core.formulas import perplexity, share_of_layers_saved
from core.state import RunState
from core.store.tokens import BlockTokens, EvaluationText

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
CURVE_POINTS = 101


@dataclass(frozen=True)
class Leavers:
    """The tokens that leave at a block; sums, so that they add up.

    Attributes:
        loss: nats, where they leave.
        correct: how many are predicted right there.
        later_loss, later_correct: the same, had they gone on through all blocks.
    """

    tokens: int
    loss: float
    correct: int
    later_loss: float
    later_correct: int

    @property
    def ppl(self) -> float | None:
        return perplexity(self.loss / self.tokens) if self.tokens else None

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.tokens if self.tokens else None

    @property
    def later_ppl(self) -> float | None:
        return perplexity(self.later_loss / self.tokens) if self.tokens else None

    @property
    def later_accuracy(self) -> float | None:
        return self.later_correct / self.tokens if self.tokens else None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What comes of leaving at these blocks.

    Attributes:
        left_at: block of each token, `[N]`.
        blocks: the tokens that leave at each block.
    """

    left_at: Integers
    blocks: tuple[Leavers, ...]
    block_layers: tuple[int, ...]

    @cached_property
    def tokens(self) -> int:
        return len(self.left_at)

    @cached_property
    def loss(self) -> float:
        """Mean nats per token."""
        return sum(block.loss for block in self.blocks) / self.tokens

    @property
    def ppl(self) -> float:
        return perplexity(self.loss)

    @property
    def accuracy(self) -> float:
        return sum(block.correct for block in self.blocks) / self.tokens

    @property
    def exit_shares(self) -> tuple[float, ...]:
        """Share of all tokens that leave at each block."""
        return tuple(block.tokens / self.tokens for block in self.blocks)

    @property
    def shallow_ratio(self) -> float:
        return sum(self.exit_shares[:-1])

    @property
    def layer_savings(self) -> float:
        return share_of_layers_saved(self.exit_shares, self.block_layers)

    def exit_rate(self, block: int) -> float:
        """Share of the tokens that arrive at a block which leave there."""
        arriving = sum(leavers.tokens for leavers in self.blocks[block:])
        return self.blocks[block].tokens / arriving if arriving else 0.0

    def cost(self, block: int) -> float:
        """How much of the mean loss, in nats, comes from this block's tokens not going on through all blocks."""
        return (self.blocks[block].loss - self.blocks[block].later_loss) / self.tokens


@dataclass(frozen=True, eq=False)
class Curve:
    """Mean loss in nats by the exit rate of one block, the other thresholds as they are."""

    rates: Floats
    losses: Floats


@dataclass(frozen=True, eq=False)
class Inspection:
    """What every block says of every evaluated token.

    Attributes:
        loss, max_prob: float32 `[K, N]`; `prediction`: int32 `[K, N]`.
        signal: float32 `[K - 1, N]`, as the last block has no exit.
        inputs, targets: the token that each prediction follows, and the one that came, int32 `[N]`.
        seq_len: width of the windows; the model sees nothing of the window before.
    """

    loss: Floats
    signal: Floats
    max_prob: Floats
    prediction: Integers
    inputs: Integers
    targets: Integers
    block_layers: tuple[int, ...]
    seq_len: int

    @property
    def tokens(self) -> int:
        return len(self.targets)

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
    def recorded(self) -> Recorded:
        """The same, to judge the exits by."""
        return Recorded(self.loss, self.signal, self.max_prob, self.prediction, self.targets, self.seq_len)

    @cached_property
    def static_depths(self) -> tuple[Outcome, ...]:
        """All tokens leave at block 0, at block 1, …"""
        return tuple(self._outcome(np.full(self.tokens, block, np.int8)) for block in range(len(self.loss)))

    @cached_property
    def oracle(self) -> Outcome:
        """Every token leaves at the block with the lowest loss, the earliest among equals."""
        return self._outcome(self.loss.argmin(0))

    def what_if(self, thresholds: Sequence[float]) -> Outcome:
        """Every token leaves at the first block whose signal reaches its threshold.

        Args:
            thresholds: one for every block but the last.
        """
        left_at = np.full(self.tokens, self.exits, np.int8)
        for block in reversed(range(self.exits)):
            left_at = np.where(self.signal[block] >= thresholds[block], np.int8(block), left_at)
        return self._outcome(left_at)

    def threshold_for(self, block: int, rate: float, thresholds: Sequence[float]) -> float:
        """The threshold at which that share of the tokens that arrive at a block leaves there; more where signals tie.

        At a rate of 0 it is just above the largest signal.
        """
        signal = self.signal[block][self.arriving(block, thresholds)]
        leaving = min(len(signal), max(0, round(rate * len(signal))))
        if leaving == 0:
            return float(np.nextafter(signal.max(initial=0.0), np.float32(2)))
        return float(np.partition(signal, len(signal) - leaving)[len(signal) - leaving])

    def arriving(self, block: int, thresholds: Sequence[float]) -> Booleans:
        """Which tokens no earlier block lets go, `[N]`."""
        arriving = np.ones(self.tokens, dtype=np.bool_)
        for earlier in range(block):
            arriving &= self.signal[earlier] < thresholds[earlier]
        return arriving

    def curve(self, block: int, thresholds: Sequence[float]) -> Curve:
        """Loss at every exit rate of a block: tokens leave there in the order of their signal, surest first."""
        arriving = self.arriving(block, thresholds)
        beyond = self.what_if([2.0 if each == block else threshold for each, threshold in enumerate(thresholds)])
        gone_on = self._at(self.loss, beyond.left_at)[arriving].astype(np.float64)
        order = np.argsort(-self.signal[block][arriving], kind="stable")
        change = (self.loss[block][arriving].astype(np.float64) - gone_on)[order]
        total = beyond.loss * self.tokens + np.concatenate(([0.0], np.cumsum(change)))
        at = np.linspace(0, len(order), CURVE_POINTS).round().astype(np.int64)
        return Curve(at / max(1, len(order)), total[at] / self.tokens)

    def histogram(self, block: int, thresholds: Sequence[float], bins: int) -> Integers:
        """The signals of the tokens that arrive at a block, as counts over equal bins of [0, 1]."""
        counts: Integers = np.histogram(self.signal[block][self.arriving(block, thresholds)], bins, (0.0, 1.0))[0]
        return counts

    def correct_where(self, outcome: Outcome) -> Booleans:
        """Whether each token is predicted right where it leaves, `[N]`."""
        return self._at(self.correct, outcome.left_at)

    def left_too_early(self, outcome: Outcome) -> Booleans:
        """Tokens that left early and were predicted wrong, though the last block would have been right, `[N]`."""
        early: Booleans = outcome.left_at < self.exits
        too_early: Booleans = early & self.correct[-1] & ~self.correct_where(outcome)
        return too_early

    def _outcome(self, left_at: Integers) -> Outcome:
        leavers = tuple(self._leavers(left_at == block, block) for block in range(len(self.loss)))
        return Outcome(left_at, leavers, self.block_layers)

    def _leavers(self, here: Booleans, block: int) -> Leavers:
        """The tokens that leave at a block.

        Products take a tenth of the time of counting; einsum, as the dot product of BLAS waits for its threads.
        """
        weights, later = here.astype(np.float64), len(self.loss) - 1
        return Leavers(
            tokens=int(np.count_nonzero(here)),
            loss=float(np.einsum("n,n->", self._nats[block], weights)),
            correct=int(np.count_nonzero(here & self.correct[block])),
            later_loss=float(np.einsum("n,n->", self._nats[later], weights)),
            later_correct=int(np.count_nonzero(here & self.correct[later])),
        )

    @cached_property
    def _nats(self) -> Floats:
        """`loss` in the type that sums are made in, so that a key need not wait for it."""
        return self.loss.astype(np.float64)

    def _at(self, values: NDArray[Scalar], left_at: Integers) -> NDArray[Scalar]:
        """What the block that each token leaves at says of it: `[K, N]` to `[N]`."""
        if len(values) == 2:
            either: NDArray[Scalar] = np.where(left_at == 0, values[0], values[1])  # faster
            return either
        there: NDArray[Scalar] = np.take_along_axis(values, left_at[None], 0)[0]
        return there


def inspection(blocks: Sequence[BlockTokens], text: EvaluationText, block_layers: Sequence[int]) -> Inspection:
    """What the store keeps of a run, as matrices; the run may have evaluated a prefix of the text only."""
    tokens = len(blocks[0].cross_entropy)
    stream = np.frombuffer(text.stream, np.int32)
    return Inspection(
        loss=np.stack([np.frombuffer(block.cross_entropy, np.float32) for block in blocks]),
        signal=np.stack([np.frombuffer(block.signal, np.float32) for block in blocks[:-1]])
        if len(blocks) > 1
        else np.empty((0, tokens), np.float32),
        max_prob=np.stack([np.frombuffer(block.max_prob, np.float32) for block in blocks]),
        prediction=np.stack([np.frombuffer(block.prediction, np.int32) for block in blocks]),
        inputs=stream[:tokens],
        targets=stream[1 : tokens + 1],
        block_layers=tuple(block_layers),
        seq_len=text.seq_len,
    )


def own_thresholds(state: RunState, exits: int) -> tuple[float, ...] | None:
    """The thresholds that a run set, or None if one is missing."""
    stages = [state.stage("hard tokens", block) for block in range(exits)]
    found = tuple(stage.threshold.threshold for stage in stages if stage and stage.threshold)
    return found if len(found) == exits else None


@dataclass(frozen=True)
class Setting:
    """Thresholds, and what comes of them."""

    thresholds: Sequence[float]
    outcome: Outcome
