"""Exit quality: what an exit's signal knows, whether what it claims comes true, and what it buys.

Shapes: K blocks, N tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.auroc import auroc, midranks
from core.analysis.price_curve import PriceCurve, price_claims, price_curve
from core.analysis.reliability import Reliability, reliability
from core.analysis.token_table import Booleans, Floats, Integers, TokenTable
from core.analysis.tradeoff import DepthSavings, QualityCurve, TradeOff, quality_curve, trade_off
from core.costs import PricedCosts
from core.exits._facts import Claim
from core.pricing.thresholds import where_left

ToGain = Callable[[Floats], Floats]
"""Map from signals to the gain of the next block that they claim, nats, `[N]` to `[N]`."""
HISTOGRAM_BINS = 50
IN_NATS: tuple[Claim, ...] = ("gain", "price")
"""Claims whose reliability is of gains in nats."""


@dataclass(frozen=True)
class Meaning:
    """What a run's signals claim to be.

    Attributes:
        to_gain: needed where they claim a gain.
        costs: what a price is paid for; needed where they claim a price.
    """

    claims: Claim = "correct"
    to_gain: ToGain | None = None
    costs: PricedCosts | None = None


CORRECT = Meaning()


@dataclass(frozen=True)
class Ranking:
    """Discrimination of a signal between two kinds of tokens.

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
        claims: what the signal claims to be.
        signal: what it claims against what is found, over groups of equally many tokens; None where it claims an order
            only.
        histogram: the signal's counts over equal bins of [0, 1].
    """

    block: int
    correct: Ranking
    next_no_better: Ranking
    last_no_better: Ranking
    confidence: Reliability
    claims: Claim
    signal: Reliability | None
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
        layers, flops: quality against savings at one exit rate for all exits, by kind of savings.
        priced_layers, priced_flops: the same at one price for all exits.
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
    priced_layers: PriceCurve
    priced_flops: PriceCurve


def quality(
    table: TokenTable,
    savings: DepthSavings,
    paid: tuple[PricedCosts, PricedCosts],
    meaning: Meaning = CORRECT,
    thresholds: Sequence[float] = (),
) -> Quality:
    """Judge all exits of a run.

    Args:
        paid: what a price is paid for in layers, and in FLOPs.
        thresholds: its own, one for every exit.
    """
    curve, is_price = quality_curve(table), meaning.claims == "price"
    return Quality(
        exits=tuple(exit_quality(table, block, meaning) for block in range(table.exits)),
        last=reliability(table.max_prob[-1], table.correct[-1]),
        overthinking=overthinking(table),
        savings=savings,
        static_losses=table.mean_loss,
        as_run=table.exit_shares(table.left_at(thresholds)),
        curve=curve,
        layers=trade_off(table, curve, savings.layers, savings.layers),
        flops=trade_off(table, curve, savings.flops, savings.static_flops),
        priced_layers=price_curve(table, paid[0], savings.layers, is_price=is_price),
        priced_flops=price_curve(table, paid[1], savings.static_flops, is_price=is_price),
    )


def exit_quality(table: TokenTable, block: int, meaning: Meaning = CORRECT) -> ExitQuality:
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
        claims=meaning.claims,
        signal=signal_reliability(table, block, meaning),
        histogram=np.histogram(signal, HISTOGRAM_BINS, (0.0, 1.0))[0],
    )


def signal_reliability(table: TokenTable, block: int, meaning: Meaning) -> Reliability | None:
    """Compare what a block's signal claims with what is found; None where it claims an order only."""
    if meaning.claims == "rank":
        return None
    if meaning.claims == "price":
        assert meaning.costs is not None, "what claims a price says what for"
        claimed, realised = price_claims(table, block, meaning.costs)
        return reliability(claimed, realised.astype(np.float32))
    signal, truth = table.signal[block], claimed_truth(table, block, meaning.claims)
    if meaning.claims == "gain":
        assert meaning.to_gain is not None, "what claims a gain says which"
        return reliability(meaning.to_gain(signal), truth)
    return reliability(signal, truth)


def claimed_truth(table: TokenTable, block: int, claims: Claim) -> Floats:
    """Return the figure that the signal claims, as it came out for each token, `[N]`: in [0, 1], or a gain in nats.

    Prices have `price_claims`.
    """
    truths: dict[Claim, Callable[[], Floats | Booleans]] = {
        "correct": lambda: table.correct[block],
        "p(target)": lambda: np.exp(-table.cross_entropy[block]),
        "max_prob": lambda: table.max_prob[block],
        "agrees": lambda: table.prediction[block] == table.prediction[-1],
        "gain": lambda: table.cross_entropy[block] - table.cross_entropy[block + 1],
    }
    return truths[claims]().astype(np.float32)


def overthinking(table: TokenTable) -> Overthinking:
    """Measure how often, and at what cost, later blocks make a right prediction wrong."""
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
