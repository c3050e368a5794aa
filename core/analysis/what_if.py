"""Results of a run's tokens at other thresholds, computed from their table.

All figures assume that every token went through every block, so each attends to its whole context. In the run itself
exited tokens have other states in the later blocks, which changes what the other tokens attend to: the measured loss of
early exit may differ from the one computed here at the same thresholds.

Shapes: K blocks, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.analysis.token_table import Booleans, Floats, Integers, TokenTable
from core.formulas import perplexity, share_of_layers_saved
from core.pricing.thresholds import NEVER, rate_threshold, where_left

CURVE_POINTS = 101


@dataclass(frozen=True)
class Leavers:
    """Sums over the tokens that leave at a block.

    Attributes:
        loss: summed loss at that block, nats.
        correct: number of correct predictions at that block.
        later_loss, later_correct: the same after all blocks.
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
    """Results of leaving at these blocks.

    Attributes:
        left_at: block that each token leaves at, `[N]`.
        blocks: sums over the tokens that leave at each block.
    """

    left_at: Integers
    blocks: tuple[Leavers, ...]
    block_layers: tuple[int, ...]

    @cached_property
    def tokens(self) -> int:
        return len(self.left_at)

    @cached_property
    def loss(self) -> float:
        """Mean loss per token, nats."""
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
        """Return the share of the tokens arriving at a block that leave there."""
        arriving = sum(leavers.tokens for leavers in self.blocks[block:])
        return self.blocks[block].tokens / arriving if arriving else 0.0

    def cost(self, block: int) -> float:
        """Return the part of the mean loss, in nats, due to tokens leaving at this block instead of the last."""
        return (self.blocks[block].loss - self.blocks[block].later_loss) / self.tokens


@dataclass(frozen=True)
class Setting:
    """Thresholds with their results."""

    thresholds: tuple[float, ...]
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class ExitCurve:
    """Mean loss in nats by the exit rate of one block, with the other thresholds fixed."""

    rates: Floats
    losses: Floats


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The tokens of a run, for computing results at other thresholds."""

    table: TokenTable
    block_layers: tuple[int, ...]

    @cached_property
    def static_depths(self) -> tuple[Outcome, ...]:
        """Results if all tokens leave at block 0, at block 1, …"""
        table = self.table
        return tuple(self._outcome(np.full(table.tokens, block, np.int16)) for block in range(table.blocks))

    @cached_property
    def oracle(self) -> Outcome:
        """Results if every token leaves at the block with its lowest loss."""
        return self._outcome(self.table.oracle)

    def setting(self, thresholds: Sequence[float]) -> Setting:
        """Compute the results if every token leaves at the first block whose signal reaches its threshold.

        Args:
            thresholds: threshold of each exit.
        """
        return Setting(tuple(thresholds), self._outcome(self.table.left_at(thresholds)))

    def threshold_for(self, block: int, rate: float, thresholds: Sequence[float]) -> float:
        """Return the threshold at which that share of the tokens arriving at a block leaves there; more if signals tie.

        At a rate of 0 it is just above the largest signal.
        """
        signal = self.table.signal[block][self.arriving(block, thresholds)]
        found = rate_threshold(signal, rate)
        return float(np.nextafter(signal.max(initial=0.0), np.float32(2))) if found is None else found

    def arriving(self, block: int, thresholds: Sequence[float]) -> Booleans:
        """Return the mask of the tokens that do not exit before a block, bool `[N]`."""
        arriving: Booleans = self.table.left_at(thresholds) >= block
        return arriving

    def curve(self, block: int, thresholds: Sequence[float]) -> ExitCurve:
        """Compute the loss at every exit rate of a block, where tokens exit in falling order of their signal."""
        loss, signal = self.table.cross_entropy, self.table.signal[block]
        others = [NEVER if each == block else threshold for each, threshold in enumerate(thresholds)]
        without = self.setting(others).outcome  # no token exits at this block
        arriving = self.arriving(block, thresholds)  # [N]; n of them arrive
        later = where_left(loss, without.left_at)[arriving].astype(np.float64)  # [n]
        order = np.argsort(-signal[arriving], kind="stable")  # [n]
        change = (loss[block][arriving].astype(np.float64) - later)[order]  # [n]
        total = without.loss * self.table.tokens + np.concatenate(([0.0], np.cumsum(change)))  # [n + 1]
        at = np.linspace(0, len(order), CURVE_POINTS).round().astype(np.int64)
        return ExitCurve(at / max(1, len(order)), total[at] / self.table.tokens)

    def histogram(self, block: int, thresholds: Sequence[float], bins: int) -> Integers:
        """Count the signals of the tokens arriving at a block in equal bins of [0, 1], `[bins]`."""
        signal = self.table.signal[block][self.arriving(block, thresholds)]
        counts: Integers = np.histogram(signal, bins, (0.0, 1.0))[0]
        return counts

    def correct_where(self, outcome: Outcome) -> Booleans:
        """Return whether each token is predicted correctly at the block it leaves at, bool `[N]`."""
        return where_left(self.table.correct, outcome.left_at)

    def left_too_early(self, outcome: Outcome) -> Booleans:
        """Return the mask of the tokens that exited early, wrongly predicted, where the last block is right, `[N]`."""
        early: Booleans = outcome.left_at < self.table.blocks - 1
        too_early: Booleans = early & self.table.correct[-1] & ~self.correct_where(outcome)
        return too_early

    def _outcome(self, left_at: Integers) -> Outcome:
        leavers = tuple(self._leavers(left_at == block, block) for block in range(self.table.blocks))
        return Outcome(left_at, leavers, self.block_layers)

    def _leavers(self, here: Booleans, block: int) -> Leavers:
        """Sum over the tokens that leave at a block, given as a mask `[N]`.

        Multiplying by the mask takes a tenth of the time of indexing. It uses einsum because BLAS's dot product waits
        for its threads.
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
        """Cross-entropies in float64, the dtype of the sums, `[K, N]`; converted once, so key presses are quick."""
        return self.table.cross_entropy.astype(np.float64)
