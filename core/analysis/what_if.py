"""What if the thresholds were others? What follows for the tokens of a run, worked out from their table.

All figures suppose that every token went through every block, so that each knows the whole context. In the run itself
a token that has left enters the later blocks as it entered the one it left, which changes what the others see there:
the measured loss of early exit may therefore differ from the one worked out here, at the same thresholds.

Shapes: K blocks, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.analysis.threshold_sweep import NEVER, rate_threshold
from core.analysis.token_table import Booleans, Floats, Integers, TokenTable, where_left
from core.formulas import perplexity, share_of_layers_saved

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


@dataclass(frozen=True)
class Setting:
    """Thresholds, and what comes of them."""

    thresholds: tuple[float, ...]
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class ExitCurve:
    """Mean loss in nats by the exit rate of one block, the other thresholds as they are."""

    rates: Floats
    losses: Floats


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The tokens of a run, to be let go at other blocks than the run did."""

    table: TokenTable
    block_layers: tuple[int, ...]

    @cached_property
    def static_depths(self) -> tuple[Outcome, ...]:
        """All tokens leave at block 0, at block 1, …"""
        table = self.table
        return tuple(self._outcome(np.full(table.tokens, block, np.int16)) for block in range(table.blocks))

    @cached_property
    def oracle(self) -> Outcome:
        """Every token leaves at the block with its lowest loss."""
        return self._outcome(self.table.oracle)

    def setting(self, thresholds: Sequence[float]) -> Setting:
        """Every token leaves at the first block whose signal reaches its threshold.

        Args:
            thresholds: one for each exit.
        """
        return Setting(tuple(thresholds), self._outcome(self.table.left_at(thresholds)))

    def threshold_for(self, block: int, rate: float, thresholds: Sequence[float]) -> float:
        """The threshold at which that share of the tokens that arrive at a block leaves there; more where signals tie.

        At a rate of 0 it is just above the largest signal.
        """
        signal = self.table.signal[block][self.arriving(block, thresholds)]
        found = rate_threshold(signal, rate)
        return float(np.nextafter(signal.max(initial=0.0), np.float32(2))) if found is None else found

    def arriving(self, block: int, thresholds: Sequence[float]) -> Booleans:
        """Which tokens no earlier block lets go, `[N]`."""
        arriving: Booleans = self.table.left_at(thresholds) >= block
        return arriving

    def curve(self, block: int, thresholds: Sequence[float]) -> ExitCurve:
        """Loss at every exit rate of a block: tokens leave there in the order of their signal, surest first."""
        loss, signal = self.table.cross_entropy, self.table.signal[block]
        others = [NEVER if each == block else threshold for each, threshold in enumerate(thresholds)]
        beyond = self.setting(others).outcome
        arriving = self.arriving(block, thresholds)
        gone_on = where_left(loss, beyond.left_at)[arriving].astype(np.float64)
        order = np.argsort(-signal[arriving], kind="stable")
        change = (loss[block][arriving].astype(np.float64) - gone_on)[order]
        total = beyond.loss * self.table.tokens + np.concatenate(([0.0], np.cumsum(change)))
        at = np.linspace(0, len(order), CURVE_POINTS).round().astype(np.int64)
        return ExitCurve(at / max(1, len(order)), total[at] / self.table.tokens)

    def histogram(self, block: int, thresholds: Sequence[float], bins: int) -> Integers:
        """The signals of the tokens that arrive at a block, as counts over equal bins of [0, 1]."""
        signal = self.table.signal[block][self.arriving(block, thresholds)]
        counts: Integers = np.histogram(signal, bins, (0.0, 1.0))[0]
        return counts

    def correct_where(self, outcome: Outcome) -> Booleans:
        """Whether each token is predicted right where it leaves, `[N]`."""
        return where_left(self.table.correct, outcome.left_at)

    def left_too_early(self, outcome: Outcome) -> Booleans:
        """Tokens that left early and were predicted wrong, though the last block would have been right, `[N]`."""
        early: Booleans = outcome.left_at < self.table.blocks - 1
        too_early: Booleans = early & self.table.correct[-1] & ~self.correct_where(outcome)
        return too_early

    def _outcome(self, left_at: Integers) -> Outcome:
        leavers = tuple(self._leavers(left_at == block, block) for block in range(self.table.blocks))
        return Outcome(left_at, leavers, self.block_layers)

    def _leavers(self, here: Booleans, block: int) -> Leavers:
        """The tokens that leave at a block.

        Products take a tenth of the time of counting; einsum, as the dot product of BLAS waits for its threads.
        """
        weights, correct = here.astype(np.float64), self.table.correct
        return Leavers(
            tokens=int(np.count_nonzero(here)),
            loss=float(np.einsum("n,n->", self._nats[block], weights)),
            correct=int(np.count_nonzero(here & correct[block])),
            later_loss=float(np.einsum("n,n->", self._nats[-1], weights)),
            later_correct=int(np.count_nonzero(here & correct[-1])),
        )

    @cached_property
    def _nats(self) -> Floats:
        """Cross-entropies in the type that sums are made in, so that a key need not wait for it."""
        return self.table.cross_entropy.astype(np.float64)
