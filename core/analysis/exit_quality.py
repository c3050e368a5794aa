"""Exit quality: what an exit's signal knows, whether it can be read as a probability, and what it buys.

Shapes: K blocks, N tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from core.analysis.auroc import auroc, midranks
from core.analysis.reliability import Reliability, reliability
from core.analysis.token_table import Booleans, Floats, Integers, TokenTable, where_left
from core.analysis.tradeoff import DepthSavings, QualityCurve, TradeOff, quality_curve, trade_off

Claim = Literal["correct", "p(target)", "max_prob", "agrees"]
"""What a signal may claim to be: the block's prediction is right; the probability it gives the target; its largest
probability; its prediction is the last block's."""
CLAIMS: tuple[Claim, ...] = get_args(Claim)
HISTOGRAM_BINS = 50


@dataclass(frozen=True)
class Ranking:
    """How well a signal tells two kinds of tokens apart.

    Attributes:
        auroc: chance that a token of the kind has the higher signal; None where all are of one kind.
        share: of the tokens that are of the kind.
    """

    auroc: float | None
    share: float


@dataclass(frozen=True, eq=False)
class ExitQuality:
    """One exit, judged on all tokens, those that an earlier exit would take included.

    Attributes:
        correct: ranking of the tokens that the block predicts right.
        next_no_better: of those whose loss the next block would not lower, which should therefore leave.
        last_no_better: the same of the last block.
        confidence: the block's largest probability against its being right.
        claims: what the signal is read as; `signal` holds it against that.
        histogram: the signal's counts over equal bins of [0, 1].
    """

    block: int
    correct: Ranking
    next_no_better: Ranking
    last_no_better: Ranking
    confidence: Reliability
    claims: Claim
    signal: Reliability
    histogram: Integers


@dataclass(frozen=True)
class Overthinking:
    """Tokens that the last block has wrong or no better than before (Kaya et al. 2019, "Shallow-Deep Networks", 4).

    Attributes:
        wasteful: share of tokens right at the last block that an earlier one had right already.
        destructive: share of tokens wrong at the last block that an earlier one had right.
        cost: nats per token of all: what the destroyed ones lose against the first block that had them right.
        regret: nats per token of all that the oracle, which leaves at the lowest loss, would save over all blocks.
    """

    wasteful: float
    destructive: float
    cost: float
    regret: float


@dataclass(frozen=True, eq=False)
class Quality:
    """A run's exits.

    Attributes:
        last: reliability of the last block's largest probability.
        static_losses: mean nats of each block alone, `[K]`.
        as_run: share of tokens that leaves at each block at the run's own thresholds, `[K]`.
        layers, flops: quality against savings, by kind of savings.
    """

    exits: tuple[ExitQuality, ...]
    last: Reliability
    overthinking: Overthinking
    savings: DepthSavings
    static_losses: Floats
    as_run: Floats
    curve: QualityCurve
    layers: TradeOff
    flops: TradeOff


def quality(
    table: TokenTable, savings: DepthSavings, claims: Claim = "correct", thresholds: Sequence[float] = ()
) -> Quality:
    """Judge all exits of a run.

    Args:
        claims: what its signals are read as.
        thresholds: its own, one for every exit.
    """
    curve = quality_curve(table)
    return Quality(
        exits=tuple(exit_quality(table, block, claims) for block in range(table.exits)),
        last=reliability(table.max_prob[-1], table.correct[-1]),
        overthinking=overthinking(table),
        savings=savings,
        static_losses=table.mean_loss,
        as_run=table.exit_shares(table.left_at(thresholds)),
        curve=curve,
        layers=trade_off(table, curve, savings.layers, savings.layers),
        flops=trade_off(table, curve, savings.flops, savings.static_flops),
    )


def exit_quality(table: TokenTable, block: int, claims: Claim = "correct") -> ExitQuality:
    """Judge the exit of a block."""
    signal, loss = table.signal[block], table.cross_entropy
    ranks = midranks(signal)
    kinds = (table.correct[block], loss[block + 1] >= loss[block], loss[-1] >= loss[block])
    correct, next_no_better, last_no_better = (Ranking(auroc(ranks, kind), float(kind.mean())) for kind in kinds)
    return ExitQuality(
        block=block,
        correct=correct,
        next_no_better=next_no_better,
        last_no_better=last_no_better,
        confidence=reliability(table.max_prob[block], table.correct[block]),
        claims=claims,
        signal=reliability(signal, claimed_truth(table, block, claims)),
        histogram=np.histogram(signal, HISTOGRAM_BINS, (0.0, 1.0))[0],
    )


def claimed_truth(table: TokenTable, block: int, claims: Claim) -> Floats:
    """What becomes of the claim for each token, in [0, 1], `[N]`."""
    truths: dict[Claim, Callable[[], Floats | Booleans]] = {
        "correct": lambda: table.correct[block],
        "p(target)": lambda: np.exp(-table.cross_entropy[block]),
        "max_prob": lambda: table.max_prob[block],
        "agrees": lambda: table.prediction[block] == table.prediction[-1],
    }
    return truths[claims]().astype(np.float32)


def overthinking(table: TokenTable) -> Overthinking:
    """How often, and at what cost, going on makes a right prediction wrong."""
    correct, loss = table.correct, table.cross_entropy
    earlier = correct[:-1].any(axis=0)
    destroyed = np.flatnonzero(earlier & ~correct[-1])
    first = correct[:-1, destroyed].argmax(axis=0) if table.blocks > 1 else destroyed
    lost = loss[-1, destroyed] - loss[first, destroyed]
    return Overthinking(
        wasteful=float((earlier & correct[-1]).mean()),
        destructive=len(destroyed) / table.tokens,
        cost=float(lost.sum(dtype=np.float64)) / table.tokens,
        regret=float(table.mean_loss[-1] - where_left(loss, table.oracle).mean(dtype=np.float64)),
    )
