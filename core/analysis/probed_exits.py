"""Exits of a pretrained model as a short training would have them: five blocks, affine readouts, gain exits, one price.

The readouts start from least squares and are trained on the text by the loss, the last block's too, as in a run
(`core.protocol.frozen`). Gain exits are fitted to the held-out windows, each part of which is judged by a fit to the
others. What they stand below the static line is a difference within windows, with an interval over windows.

Shapes: K blocks, E exits (K - 1), N held-out tokens, W held-out windows.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from core.analysis.price_curve import PricePoint, StaticLine, priced_tokens
from core.analysis.token_table import TokenTable
from core.backbones.model import PretrainedModel
from core.backbones.state_cache import StateCache
from core.config.run_config import RunConfig
from core.costs import PricedCosts, priced_costs
from core.events import Event
from core.exits import exit_method
from core.formulas import layers_saved
from core.intervals import Interval, over_windows
from core.pricing.search import closest
from core.pricing.thresholds import left_at
from core.protocol.exit_setting import ExitSetting
from core.protocol.frozen import Frozen
from core.protocol.order import planned_stages
from core.protocol.runner import Runner
from core.stages.block_data import BlockData
from core.stages.splits import Splits
from core.stages.statistics import BlockOutput

SAVINGS = (0.2, 0.3, 0.4)
"""Shares of the layers that the exits are asked to save."""


@dataclass(frozen=True)
class ProbedExits:
    """Exits at one price that save about as much as asked for.

    Attributes:
        saved: share of the layers saved.
        loss: mean over the held-out tokens, nats.
        difference: loss less that of the static depths at the same savings, nats.
        interval: 95% interval of the difference over windows; None if there are too few.
    """

    saved: float
    loss: float
    difference: float
    interval: Interval | None


@dataclass(frozen=True)
class Exits:
    """Exits after each of a few even blocks.

    Attributes:
        layers: number of layers run at each block's end, `[K]`.
        losses: mean loss of each static depth, with its trained readout, nats, `[K]`.
        trained, tokens: number of tokens that readouts were trained on, and that exits were fitted and judged on.
        points: one for each of `SAVINGS` that has a price of its own, and saves something.
        gain: nats below the static line on average over the points, with its interval over windows; None where nothing
            is saved, or there are too few windows.
    """

    layers: tuple[int, ...]
    losses: tuple[float, ...]
    trained: int
    tokens: int
    points: tuple[ProbedExits, ...]
    gain: Interval | None


def fitted_exits(
    model: PretrainedModel, config: RunConfig, data: Splits[BlockData], cache: StateCache
) -> Generator[Event, None, Exits]:
    """Train the readouts of a model on its training windows, fit gain exits to the held-out ones, and judge them.

    Args:
        config: resolved, of method `gain`, whose price is paid for layers; the model is cut as it says.
        cache: the states of all windows at the ends of its blocks.
    """
    runner = Runner.unkept()
    outputs = yield from Frozen(config, model, data, runner.kept, runner.timed, runner.clock).outputs_from(cache)
    signals = yield from ExitSetting(config, model, runner, planned_stages(config)).signals_ahead(outputs)
    table = _table(outputs, signals, data.calibration)
    method = exit_method(config.method)
    costs = priced_costs(config, len(model.head.weight), reads_head=method.reads_head, learns=method.learns)
    return judged_exits(table, costs, config.model.block_layers, data.train.tokens)


def _table(outputs: Sequence[BlockOutput], signals: dict[int, Tensor], data: BlockData) -> TokenTable:
    """Return the table of the held-out tokens."""
    found = [output.statistics for output in outputs]
    return TokenTable(
        cross_entropy=np.stack([block.cross_entropy.cpu().numpy() for block in found]),
        signal=torch.stack([signals[block] for block in sorted(signals)]).cpu().numpy(),
        max_prob=np.stack([block.max_prob.cpu().numpy() for block in found]),
        prediction=np.stack([block.prediction.cpu().numpy().astype(np.int32) for block in found]),
        inputs=data.source.flatten().cpu().numpy().astype(np.int32),
        targets=data.targets.flatten().cpu().numpy().astype(np.int32),
        seq_len=data.targets.shape[1],
    )


def judged_exits(table: TokenTable, costs: PricedCosts, layers: tuple[int, ...], trained: int) -> Exits:
    """Hold exits whose signals are prices against the static line.

    Args:
        costs: the layers, as what a price is paid for.
        layers: number of layers of each block, `[K]`.
    """
    line, tokens = StaticLine(table, layers_saved(layers)), priced_tokens(table, costs, is_price=True)
    points = list[PricePoint]()
    for asked in SAVINGS:
        found = closest(tokens, "savings", asked)
        if found.savings > 0 and found.price not in (point.price for point in points):
            points.append(
                line.point(found.price, found.thresholds, left_at(table.signal, found.thresholds), found.savings)
            )
    below = [-fmean(of_window) for of_window in zip(*(point.windows for point in points), strict=True)]  # [W] or []
    return Exits(
        layers=tuple(np.cumsum(layers).tolist()),
        losses=tuple(table.mean_loss.tolist()),
        trained=trained,
        tokens=table.tokens,
        points=tuple(
            ProbedExits(point.savings, point.loss, point.loss - point.line, point.difference) for point in points
        ),
        gain=over_windows(below),
    )
