"""Quality against savings: what every threshold gives, and whether a fixed depth would have given it too.

The line to beat is made of the static depths: leaving at a block without looking, or at one of two blocks by the toss
of a coin, costs no signal and needs no training. Early exit has a reason to exist where it lies below that line.

Shapes: K blocks, E exits, J candidates (sets of thresholds).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from core import costs
from core.analysis.threshold_sweep import sweep, threshold_grid
from core.analysis.token_table import Booleans, Floats, TokenTable, where_left
from core.formulas import share_of_layers_saved

RATES = 201
"""Points of a curve, at equal steps of the exit rate from none to all."""
TOLERANCE = 1e-9
"""Nats within which two losses, and share within which two savings, are the same."""


@dataclass(frozen=True)
class DepthSavings:
    """What a token saves by leaving at each block, as a share of the full model (`[K]` each).

    Attributes:
        layers: layers that are not run.
        flops: everything counted; deciding costs, and so do keys and values of layers it skips (`core.costs`).
        static_flops: where every token leaves at that block: nothing decides, and no one attends further on.
    """

    layers: tuple[float, ...]
    flops: tuple[float, ...]
    static_flops: tuple[float, ...]


def depth_savings(cost: costs.ExitCosts) -> DepthSavings:
    """The savings of each block, after `design.md`, section 5."""
    model = cost.model
    layer, head = costs.layer_flops(model, cost.seq_len), costs.head_flops(model, cost.vocab_size)
    depths = accumulate(model.block_layers)
    return DepthSavings(
        layers=layers_saved(model.block_layers),
        flops=tuple(cost.savings(alone) for alone in _each_alone(len(model.block_layers))),
        static_flops=tuple(1 - (depth * layer + head) / cost.full for depth in depths),
    )


def layers_saved(block_layers: tuple[int, ...]) -> tuple[float, ...]:
    """Share of the layers that a token saves by leaving at each block, `[K]`."""
    return tuple(share_of_layers_saved(alone, block_layers) for alone in _each_alone(len(block_layers)))


def _each_alone(blocks: int) -> Iterator[list[float]]:
    """Exit shares where all leave at block 0, at block 1, …"""
    return ([float(block == other) for other in range(blocks)] for block in range(blocks))


@dataclass(frozen=True, eq=False)
class QualityCurve:
    """What comes of each exit rate, from none to all.

    Attributes:
        rates: share of the tokens still in that leaves at every exit, as asked for, `[J]`.
        thresholds: `[J, E]`.
        loss: mean nats, `[J]`.
        shares: share of all tokens that leaves at each block, `[J, K]`.
    """

    rates: Floats
    thresholds: Floats
    loss: Floats
    shares: Floats

    def savings(self, per_block: Sequence[float]) -> Floats:
        """Mean savings, of a token's by the block it leaves at, `[J]`."""
        savings: Floats = self.shares @ np.asarray(per_block)
        return savings


def quality_curve(table: TokenTable, points: int = RATES) -> QualityCurve:
    """Loss at every exit rate: one parameter sets the thresholds of all exits (`core.analysis.threshold_sweep`)."""
    rates = np.linspace(0, 1, points)
    tried = sweep(table, threshold_grid(table.signal, rates))
    return QualityCurve(rates, tried.thresholds, table.mean_loss[-1] + tried.excess[0], tried.shares[0])


def static_line(savings: Sequence[float], losses: Sequence[float] | Floats, at: Floats) -> Floats:
    """The lowest mean loss of any static depth, or mixture of two, that saves at least so much, `[J]`.

    Beyond what the shallowest depth saves it stays at that depth's loss.

    Args:
        savings, losses: of each static depth, `[K]`.
        at: the savings to match, `[J]`.
    """
    asked = np.minimum(at, max(savings)) - TOLERANCE
    lowest = np.full(len(at), np.inf)
    for saved, loss in zip(savings, losses, strict=True):
        lowest[asked <= saved] = np.minimum(lowest[asked <= saved], loss)
        for more, loss_there in zip(savings, losses, strict=True):
            between = (asked > saved) & (asked <= more)
            mixed = loss + (loss_there - loss) * (asked[between] - saved) / (more - saved)
            lowest[between] = np.minimum(lowest[between], mixed)
    return lowest


@dataclass(frozen=True, eq=False)
class TradeOff:
    """A curve against the line to beat, by one kind of savings; points as in the curve, the savings rising (`[J]`).

    Attributes:
        savings: share of the full model's cost; below 0 where deciding costs more than is saved.
        loss: mean nats of early exit.
        line: mean nats of the static depths at the same savings.
        possible: mean nats of exits that know every block's loss: a bound, not a method.
    """

    savings: Floats
    loss: Floats
    line: Floats
    possible: Floats

    @property
    def beats(self) -> Booleans:
        """Where early exit saves something, and loses less than any static depth that saves as much."""
        beats: Booleans = (self.savings > 0) & (self.loss < self.line - TOLERANCE)
        return beats

    @property
    def area(self) -> float:
        """Area between line and curve in nats × savings, where something is saved; below 0 if the curve lies above."""
        return self._below_line(self.loss)

    @property
    def mean_gain(self) -> float | None:
        """The area over the width of the savings: nats below the line, on average. None where nothing is saved."""
        saved = np.maximum(self.savings, 0)
        width = float(saved[-1] - saved[0])
        return self.area / width if width > 0 else None

    @property
    def share_of_possible(self) -> float | None:
        """The area over that of the best possible exits: 1 is perfect, 0 the static line, below it worse.

        None where no exits could beat the line.
        """
        possible = self._below_line(self.possible)
        return self.area / possible if possible > TOLERANCE else None

    def _below_line(self, loss: Floats) -> float:
        return float(np.trapezoid(self.line - loss, np.maximum(self.savings, 0)))


def trade_off(table: TokenTable, curve: QualityCurve, per_block: Sequence[float], static: Sequence[float]) -> TradeOff:
    """Set a curve against the static depths.

    Args:
        per_block: what a token saves that leaves at each block by early exit, `[K]`.
        static: what each static depth saves, `[K]`.
    """
    savings = curve.savings(per_block)
    return TradeOff(
        savings=savings,
        loss=curve.loss,
        line=static_line(static, table.mean_loss, savings),
        possible=np.interp(savings, *possible_losses(table, per_block)),
    )


def possible_losses(table: TokenTable, per_block: Sequence[float]) -> tuple[Floats, Floats]:
    """Savings and mean loss of the best possible exits, in the order of their savings.

    From all blocks on, the next step is always the cheapest one there is: a token moved to a block that saves more,
    for the fewest nats per savings. The lowest point is the oracle.
    """
    savings = np.asarray(per_block)
    steps = np.concatenate(list(_steps(table.cross_entropy, savings)), axis=1)
    steps = steps[:, np.argsort(steps[1] / steps[0])]
    moved = np.cumsum(steps, axis=1) / table.tokens
    return np.append(savings[-1], savings[-1] + moved[0]), table.mean_loss[-1] + np.append(0, moved[1])


def _steps(loss: Floats, savings: Floats) -> Iterator[Floats]:
    """Each token's way from the last block to the one that saves most, as savings gained and nats lost, `[2, n]`.

    A token's steps are the lower convex hull of its losses over the savings, so each costs more than the one before.
    """
    yield np.empty((2, 0))
    tokens = np.arange(loss.shape[1])
    at = np.full(len(tokens), len(savings) - 1)
    while len(tokens := tokens[savings[at[tokens]] < savings.max()]):
        here = at[tokens]
        gained = savings[:, None] - savings[here]
        lost = loss[:, tokens] - where_left(loss[:, tokens], here).astype(np.float64)
        price = np.divide(lost, gained, out=np.full_like(gained, np.inf), where=gained > 0)
        best = price.argmin(axis=0)
        yield np.stack([where_left(gained, best), where_left(lost, best)])
        at[tokens] = best
