"""Where the perplexity went: from the loss seen in training to that of early exit, changing one thing at a time.

All but the start is of the same tokens, those of the evaluation split. What happened to tokens is worked out from what
every block said of them when all went through all blocks (`core.analysis.token_table`), so no model is needed, and
nothing is drawn: tokens that leave at random are an expectation.

Lost context is no step of that way, as nothing is packed in evaluation: to go there and back would add nothing. It lies
on a way of its own, that of the last block, from the loss on the hard tokens of its training to that of the hard tokens
of early exit. That way needs the model.

Shapes: K blocks, N tokens in W windows of T.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from core.analysis.intervals import over_windows
from core.analysis.stored_run import own_thresholds
from core.analysis.token_table import Floats, Integers, TokenTable, where_left
from core.config.derived import exit_count, loss_shares, target_exit_shares
from core.config.run_config import RunConfig
from core.errors import UsageError
from core.events import Way, way_name
from core.state import RunState

StepName = Literal["split gap", "head drift", "depth", "exit rate", "exit decisions", "exited state", "lost context"]
WindowLosses = Callable[[Way, int | None], Sequence[float]]
PRICE_ROUNDS = 30
"""Rounds in which the oracle's prices settle; two blocks need one."""


@dataclass(frozen=True)
class WaterfallStep:
    """One change, in mean nats before and after it.

    Attributes:
        block: whose head drifted; None where the step is about the whole model. interval: 95% interval of the
        difference over windows; None where the two are not of the same windows, or of too few.
    """

    name: StepName
    block: int | None
    before: float
    after: float
    interval: tuple[float, float] | None = None

    @property
    def nats(self) -> float:
        """What the change costs; below 0 what it gains."""
        return self.after - self.before


@dataclass(frozen=True)
class Waterfall:
    """From a loss to another; each step begins where the one before it ended."""

    start: float
    steps: tuple[WaterfallStep, ...]

    @property
    def end(self) -> float:
        return self.steps[-1].after if self.steps else self.start

    @property
    def total(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Diagnosis:
    """Where the perplexity of a run went.

    Attributes:
        waterfall: from the early-stopping loss (block 0's; where all are trained together, that of the whole training)
            to early exit on the evaluation split.
        exit_shares: share of the tokens that leaves at each block by the run's own thresholds.
        oracle: lowest mean loss with these very shares, were every block's loss known: exact for two blocks; for more
            a lower bound on it.
        at_random: mean loss when tokens are picked by chance, at these shares.
        own: mean loss when the run's own exits pick them.
    """

    waterfall: Waterfall
    exit_shares: tuple[float, ...]
    oracle: float
    at_random: float
    own: float

    @property
    def share_of_possible(self) -> float | None:
        """What the own exits gain over chance, as a share of what the oracle gains; None where it gains nothing."""
        possible = self.at_random - self.oracle
        return (self.at_random - self.own) / possible if possible > 1e-9 else None


@dataclass(frozen=True)
class HardTokens:
    """The last block's way, from the hard tokens it was trained on to those of early exit.

    It starts at its early-stopping loss and goes to the evaluation split's hard tokens handed on as in training (split
    gap); to the same tokens in their own windows, after all tokens went through all blocks (lost context); and to early
    exit, where the others left other states behind (exited state).

    Attributes:
        share: of the evaluated tokens that it is about.
    """

    share: float
    waterfall: Waterfall


@dataclass(frozen=True, eq=False)
class _Level:
    """A loss on the way, and the step to it. `windows`: of each evaluation window `[W]`, not a number where unknown."""

    name: StepName
    block: int | None
    loss: float
    windows: Floats


def diagnose(table: TokenTable, state: RunState, window_losses: WindowLosses, config: RunConfig) -> Diagnosis:
    """Work out where a finished run's perplexity went.

    Args:
        table: what the blocks said of the evaluated tokens.
        window_losses: each window's mean loss, on a way through the model; empty where it was not kept.

    Raises:
        UsageError: the run has not come to its end.
    """
    left_at = table.left_at(own_thresholds(state, config))
    shares, own = table.exit_shares(left_at), where_left(table.cross_entropy, left_at)
    levels = _levels(table, state, window_losses, config, shares, own)
    return Diagnosis(
        waterfall=_waterfall(training_loss(state, config), list(levels)),
        exit_shares=tuple(shares.tolist()),
        oracle=oracle_loss(table.cross_entropy, shares),
        at_random=float(shares @ table.mean_loss),
        own=float(own.mean(dtype=np.float64)),
    )


def training_loss(state: RunState, config: RunConfig, block: int = 0) -> float:
    """The loss on the early-stopping split that a block, or all blocks together, ended training with: nats."""
    stage = state.stage("lm", block if config.protocol == "staged" or len(config.model.block_layers) == 1 else None)
    if stage is None or stage.best is None or stage.best.val_loss is None:
        raise UsageError("the run has no early-stopping loss to start from: only a finished run can be diagnosed")
    return stage.best.val_loss


def target_shares(config: RunConfig) -> Floats:
    """Share of the tokens that would leave at each block, were the thresholds to hold, `[K]`."""
    return np.array(target_exit_shares(config.protocol, config.exit.hard_ratio, len(config.model.block_layers)))


def oracle_loss(loss: Floats, shares: Floats) -> float:
    """The lowest mean loss when that share of the tokens must leave at each block, all losses `[K, N]` being known.

    Every block gets a price and every token takes the cheapest; prices are moved in turn until each block has its
    share. Whatever the prices, no choice can be better (weak duality).
    """
    used = np.flatnonzero(shares > 0)
    loss, counts = loss[used].astype(np.float64), np.rint(shares[used] * loss.shape[1]).astype(int)
    prices = np.zeros(len(used))
    for block in [*range(len(used))] * PRICE_ROUNDS if len(used) > 1 else ():
        others = np.delete(loss + prices[:, None], block, axis=0).min(axis=0)
        prices[block] = -np.partition(loss[block] - others, counts[block] - 1)[counts[block] - 1]
    return float((loss + prices[:, None]).min(axis=0).mean() - prices @ counts / loss.shape[1])


def _levels(
    table: TokenTable,
    state: RunState,
    window_losses: WindowLosses,
    config: RunConfig,
    shares: Floats,
    own: Floats,
) -> Iterator[_Level]:
    """The losses on the way, as far as the run has exits."""
    now = table.mean_loss, _of_windows(table.cross_entropy, table.seq_len)
    before = tuple(values.copy() for values in now)
    for block in range(table.blocks - 1) if config.protocol == "staged" else ():
        before[0][block], before[1][block] = _measured("as trained", block, state, window_losses, table)
    for name, drifted, moved, weights in _mixtures(config, shares):
        loss, windows = (np.concatenate([new[:moved], old[moved:]]) for new, old in zip(now, before, strict=True))
        yield _Level(name, drifted, float(weights @ loss), weights[weights > 0] @ windows[weights > 0])
    if _has_exits(config):
        yield _Level("exit decisions", None, float(own.mean(dtype=np.float64)), _of_windows(own, table.seq_len))
        yield _Level("exited state", None, *_measured("early exit", None, state, window_losses, table))


def _mixtures(config: RunConfig, shares: Floats) -> Iterator[tuple[StepName, int | None, int, Floats]]:
    """Losses that are a mean over blocks: step, whose head drifts in it, how many have drifted, and weights `[K]`.

    The first head's drift counts in full, as all tokens are still there; a later one's as far as tokens leave there.
    """
    training, staged = _training_weights(config), config.protocol == "staged"
    yield "split gap", None, 0, training
    if _has_exits(config):
        if staged:
            yield "head drift", 0, 1, training
        yield "depth", None, 1, target_shares(config)
        yield "exit rate", None, 1, shares
        for block in range(1, len(shares) - 1) if staged else ():
            yield "head drift", block, block + 1, shares


def _has_exits(config: RunConfig) -> bool:
    return exit_count(config.protocol, len(config.model.block_layers)) > 0


def _measured(
    way: Way, block: int | None, state: RunState, window_losses: WindowLosses, table: TokenTable
) -> tuple[float, Floats]:
    """Mean loss, and that of each window `[W]`: not a number where it was not kept."""
    measured, windows = state.measure(way, block), np.asarray(window_losses(way, block), np.float64)
    if measured is None:
        raise UsageError(f"the run has not measured {way_name(way, block)}: only a finished run can be diagnosed")
    return measured.loss, windows if len(windows) == table.windows else np.full(table.windows, np.nan)


def _training_weights(config: RunConfig) -> Floats:
    """What each block's loss counts in the loss that the way starts from, `[K]`."""
    blocks = len(config.model.block_layers)
    if config.protocol == "staged":
        return np.array([1.0] + [0.0] * (blocks - 1))

    shares = loss_shares(config)
    return np.array([shares[block] for block in range(blocks)])


def _waterfall(start: float, levels: Sequence[_Level]) -> Waterfall:
    steps = [
        WaterfallStep(levels[0].name, levels[0].block, start, levels[0].loss)
    ]  # of other windows, so without interval
    for before, after in pairwise(levels):
        steps.append(
            WaterfallStep(after.name, after.block, before.loss, after.loss, _interval(before.windows, after.windows))
        )
    return Waterfall(start, tuple(steps))


def _interval(before: Floats, after: Floats) -> tuple[float, float] | None:
    if np.isnan(before).any() or np.isnan(after).any():
        return None
    found = over_windows((after - before).tolist())
    return None if found is None else (found.low, found.high)


def _of_windows(values: Floats, seq_len: int) -> Floats:
    """Mean of each window: `[…, N]` to `[…, W]`."""
    means: Floats = values.reshape(*values.shape[:-1], -1, seq_len).mean(axis=-1, dtype=np.float64)
    return means


def hard_tokens_way(start: float, kept: Integers, losses: Mapping[StepName, Floats], table: TokenTable) -> HardTokens:
    """The last block's way, over losses of the same tokens.

    Args:
        kept: which tokens they are, `[n]`.
        losses: after each step, nats `[n]`.
    """
    levels = [
        _Level(name, None, float(loss.mean(dtype=np.float64)), _spread(loss, kept, table))
        for name, loss in losses.items()
    ]
    return HardTokens(len(kept) / table.tokens, _waterfall(start, levels))


def _spread(loss: Floats, kept: Integers, table: TokenTable) -> Floats:
    """What each window adds to the mean over the kept tokens, scaled so that the windows' mean is that mean, `[W]`."""
    sums = np.bincount(kept // table.seq_len, weights=loss, minlength=table.windows)
    scaled: Floats = sums * table.windows / len(kept)
    return scaled
