"""Diagnosis of a perplexity: a waterfall from the training's loss to that of early exit, one change at a time.

All losses but the first are those of the evaluation split. They are computed from the statistics of tokens that went
through all blocks (`core.analysis.token_table`), so no model is needed. Nothing is random either: the loss of tokens
that exit at random is an expectation.

Lost context is no step of this waterfall, because evaluation packs no tokens. It is a step of the last block's own
waterfall, which leads from the loss on the hard tokens of its training to that on the hard tokens of early exit and
needs the model.

Shapes: K blocks, N tokens in W windows of T; n hard tokens of the last block.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from core.analysis.stored_run import own_thresholds
from core.analysis.token_table import Floats, Integers, TokenTable
from core.config.derived import exit_count, loss_shares, target_exit_shares
from core.config.run_config import RunConfig
from core.errors import UsageError
from core.events import Way, way_name
from core.intervals import over_windows
from core.pricing.thresholds import where_left
from core.state import RunState, StageState

StepName = Literal["split gap", "head drift", "depth", "exit rate", "exit decisions", "exited state", "lost context"]
WindowLosses = Callable[[Way, int | None], Sequence[float]]
SAME_SHARE = 0.0005
"""Difference of shares that is none in tenths of a percent."""
PRICE_ROUNDS = 30
"""Rounds in which the oracle's prices converge; two blocks need one."""


@dataclass(frozen=True)
class WaterfallStep:
    """One change, with the mean loss in nats before and after it.

    Attributes:
        block: block whose head drifted; None if the step is about the whole model.
        interval: 95% interval of the difference over windows; None if the windows differ or are too few.
        worked_out: whether the loss after it is worked out, from tokens that went through all blocks; else it was
            measured.
    """

    name: StepName
    block: int | None
    before: float
    after: float
    interval: tuple[float, float] | None = None
    worked_out: bool = False

    @property
    def nats(self) -> float:
        """Cost of the change in nats; negative for a gain."""
        return self.after - self.before


@dataclass(frozen=True)
class Waterfall:
    """Steps from one loss to another; each begins at the end of the one before it."""

    start: float
    steps: tuple[WaterfallStep, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        """Losses before, between and after the steps."""
        return (self.start, *(step.after for step in self.steps))

    @property
    def end(self) -> float:
        return self.levels[-1]

    @property
    def total(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Diagnosis:
    """Diagnosis of a run's perplexity.

    Attributes:
        waterfall: steps from the early-stopping loss (block 0's, or that of all blocks trained together; of a
            pretrained model its loss on the calibration windows) to early exit on the evaluation split.
        target_shares: share of the tokens that was to leave at each block.
        exit_shares: share of the tokens that leaves at each block by the run's own thresholds, worked out from tokens
            that went through all blocks.
        measured_shares: the same as measured with early exit. They differ behind the second exit, where the signals
            of the tokens that stay depend on the state of those that left.
        oracle: lowest possible mean loss with these shares if every block's loss were known; for more than two blocks
            a lower bound on it.
        at_random: expected mean loss with these shares if tokens were picked at random.
        own: mean loss with the run's own exits.
    """

    waterfall: Waterfall
    target_shares: tuple[float, ...]
    exit_shares: tuple[float, ...]
    measured_shares: tuple[float, ...]
    oracle: float
    at_random: float
    own: float

    @property
    def moved(self) -> bool:
        """Whether other shares left when early exit was measured than are worked out."""
        pairs = zip(self.exit_shares, self.measured_shares, strict=False)
        return any(abs(worked_out - measured) >= SAME_SHARE for worked_out, measured in pairs)

    @property
    def share_of_possible(self) -> float | None:
        """Gain of the own exits over chance, as a share of the oracle's; None if the oracle gains nothing."""
        possible = self.at_random - self.oracle
        return (self.at_random - self.own) / possible if possible > 1e-9 else None


@dataclass(frozen=True)
class HardTokens:
    """Waterfall of the last block, from the hard tokens it was trained on to those of early exit.

    It starts at the block's early-stopping loss. The steps lead to the evaluation split's hard tokens, passed on as in
    training (split gap); to the same tokens in their own windows, with all tokens through all blocks (lost context);
    and to early exit, where exited tokens have other states (exited state).

    Attributes:
        share: share of these hard tokens among the evaluated tokens.
    """

    share: float
    waterfall: Waterfall


@dataclass(frozen=True, eq=False)
class _Level:
    """A loss of the waterfall and the step to it; `windows`: loss of each evaluation window `[W]`, NaN if unknown."""

    name: StepName
    block: int | None
    loss: float
    windows: Floats
    worked_out: bool = False


def diagnose(table: TokenTable, state: RunState, window_losses: WindowLosses, config: RunConfig) -> Diagnosis:
    """Diagnose a finished run's perplexity.

    Args:
        table: table of the evaluated tokens.
        window_losses: returns each window's mean loss on a way through the model; empty if it was not stored.

    Raises:
        UsageError: the run is not finished.
    """
    left_at = table.left_at(own_thresholds(state, config))
    shares, own = table.exit_shares(left_at), where_left(table.cross_entropy, left_at)
    levels = _levels(table, state, window_losses, config, shares, own)
    return Diagnosis(
        waterfall=_waterfall(training_loss(state, config), list(levels)),
        target_shares=tuple(target_shares(state, config).tolist()),
        exit_shares=tuple(shares.tolist()),
        measured_shares=() if state.final is None else state.final.exit_shares,
        oracle=oracle_loss(table.cross_entropy, shares),
        at_random=float(shares @ table.mean_loss),
        own=float(own.mean(dtype=np.float64)),
    )


def training_loss(state: RunState, config: RunConfig, block: int = 0) -> float:
    """Return the best early-stopping loss of a block, or of all blocks trained together, in nats.

    Of a pretrained model that stays as it is, it is the last block's loss on the calibration windows.

    Raises:
        UsageError: the run has none yet.
    """
    if config.protocol == "frozen":
        return _calibration_loss(state, len(config.model.block_layers) - 1)
    stage = training_stage(state, config, block)
    if stage is None or stage.best is None or stage.best.val_loss is None:
        raise UsageError("the run has no early-stopping loss to start from: only a finished run can be diagnosed")
    return stage.best.val_loss


def training_stage(state: RunState, config: RunConfig, block: int = 0) -> StageState | None:
    """Return the stage that trained a block, or all blocks together; None where none did."""
    alone = config.protocol == "staged" or len(config.model.block_layers) == 1
    return state.stage("lm", block if alone else None)


def _calibration_loss(state: RunState, block: int) -> float:
    for found in state.measured:
        if (found.block, found.split) == (block, "calibration"):
            return found.loss
    raise UsageError(
        "the run has not measured its blocks on calibration windows: only a finished run can be diagnosed, and an "
        "imported one only if its file has such windows (eetui import --calibration 20%)"
    )


def target_shares(state: RunState, config: RunConfig) -> Floats:
    """Return the share of the tokens that leaves at each block if the thresholds hold, `[K]`."""
    if state.priced:
        return np.array(state.shares_as_set(len(config.model.block_layers)))
    return np.array(target_exit_shares(config.protocol, config.exit.hard_ratio, len(config.model.block_layers)))


def oracle_loss(loss: Floats, shares: Floats) -> float:
    """Return the lowest mean loss with that share of the tokens leaving at each block, from all losses `[K, N]`.

    Every block has a price, and every token takes the cheapest block. Prices change in turn until each block has its
    share. For any prices the result is a lower bound (weak duality).
    """
    used = np.flatnonzero(shares > 0)  # the K blocks with a share
    loss, counts = loss[used].astype(np.float64), np.rint(shares[used] * loss.shape[1]).astype(int)  # [K, N], [K]
    prices = np.zeros(len(used))  # [K]
    for block in [*range(len(used))] * PRICE_ROUNDS if len(used) > 1 else ():
        others = np.delete(loss + prices[:, None], block, axis=0).min(axis=0)  # [N]
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
    """Yield the losses of the waterfall; without exits only the first."""
    now = table.mean_loss, _of_windows(table.cross_entropy, table.seq_len)  # [K], [K, W]
    before = tuple(values.copy() for values in now)  # as trained
    for block in range(table.blocks - 1) if config.protocol == "staged" else ():
        before[0][block], before[1][block] = _measured("as trained", block, state, window_losses, table)
    training = _training_weights(config)
    for name, drifted, moved, weights in _mixtures(config, training, target_shares(state, config), shares):
        loss, windows = (np.concatenate([new[:moved], old[moved:]]) for new, old in zip(now, before, strict=True))
        mixed = weights is not training
        yield _Level(name, drifted, float(weights @ loss), weights[weights > 0] @ windows[weights > 0], mixed)
    if _has_exits(config):
        yield _Level("exit decisions", None, float(own.mean(dtype=np.float64)), _of_windows(own, table.seq_len), True)
        if not config.model.imported:  # its early exit is worked out from the same tokens
            yield _Level("exited state", None, *_measured("early exit", None, state, window_losses, table))


def _mixtures(
    config: RunConfig, training: Floats, target: Floats, shares: Floats
) -> Iterator[tuple[StepName, int | None, int, Floats]]:
    """Yield the losses that are a mean over blocks: step, block whose head drifts, number of drifted heads, weights.

    The weights are `[K]`. The first head's drift counts for all tokens; a later one's for the tokens that leave at that
    block.
    """
    staged = config.protocol == "staged"
    yield "split gap", None, 0, training
    if _has_exits(config):
        if staged:
            yield "head drift", 0, 1, training
        yield "depth", None, 1, target
        yield "exit rate", None, 1, shares
        for block in range(1, len(shares) - 1) if staged else ():
            yield "head drift", block, block + 1, shares


def _has_exits(config: RunConfig) -> bool:
    return exit_count(config.protocol, len(config.model.block_layers)) > 0


def _measured(
    way: Way, block: int | None, state: RunState, window_losses: WindowLosses, table: TokenTable
) -> tuple[float, Floats]:
    """Return the mean loss of a way and that of each window `[W]`, NaN if the latter was not stored."""
    measured, windows = state.measure(way, block), np.asarray(window_losses(way, block), np.float64)
    if measured is None:
        raise UsageError(f"the run has not measured {way_name(way, block)}: only a finished run can be diagnosed")
    return measured.loss, windows if len(windows) == table.windows else np.full(table.windows, np.nan)


def _training_weights(config: RunConfig) -> Floats:
    """Return the weight of each block's loss in the waterfall's first loss, `[K]`."""
    blocks = len(config.model.block_layers)
    if config.protocol == "staged":
        return np.array([1.0] + [0.0] * (blocks - 1))
    if config.protocol == "frozen":
        return np.array([0.0] * (blocks - 1) + [1.0])
    shares = loss_shares(config)
    return np.array([shares[block] for block in range(blocks)])


def _waterfall(start: float, levels: Sequence[_Level]) -> Waterfall:
    # The first step has no interval: its two losses are not of the same windows.
    steps = [WaterfallStep(levels[0].name, levels[0].block, start, levels[0].loss)]
    for before, after in pairwise(levels):
        steps.append(
            WaterfallStep(
                after.name,
                after.block,
                before.loss,
                after.loss,
                _interval(before.windows, after.windows),
                after.worked_out,
            )
        )
    return Waterfall(start, tuple(steps))


def _interval(before: Floats, after: Floats) -> tuple[float, float] | None:
    if np.isnan(before).any() or np.isnan(after).any():
        return None
    found = over_windows((after - before).tolist())
    return None if found is None else (found.low, found.high)


def _of_windows(values: Floats, seq_len: int) -> Floats:
    """Average over each window: `[…, N]` to `[…, W]`."""
    means: Floats = values.reshape(*values.shape[:-1], -1, seq_len).mean(axis=-1, dtype=np.float64)
    return means


def hard_tokens_way(start: float, kept: Integers, losses: Mapping[StepName, Floats], table: TokenTable) -> HardTokens:
    """Build the waterfall of the last block from losses of the same tokens.

    Args:
        kept: indices of these tokens, `[n]`.
        losses: loss after each step in nats, `[n]` each.
    """
    levels = [
        _Level(name, None, float(loss.mean(dtype=np.float64)), _spread(loss, kept, table))
        for name, loss in losses.items()
    ]
    return HardTokens(len(kept) / table.tokens, _waterfall(start, levels))


def _spread(loss: Floats, kept: Integers, table: TokenTable) -> Floats:
    """Return each window's share in the mean over the kept tokens, scaled so that their mean is that mean, `[W]`."""
    sums = np.bincount(kept // table.seq_len, weights=loss, minlength=table.windows)  # [W]
    scaled: Floats = sums * table.windows / len(kept)
    return scaled
