"""The protocol of a pretrained model: the stages before its exits are set.

The model stays as it is, unless `train.backbone=all` has trained it before (`core.stages.backbone_training`). The
backbone runs once over the training windows. Then the maps in place of skipped layers are fitted, each readout is
trained, and each block's predictions on the calibration windows are computed, from the cached states. Exits are set
from these as in any protocol once all blocks are there.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, overload

import torch

from core import costs
from core.backbones.state_cache import StateCache
from core.config.run_config import RunConfig
from core.events import Event, PlannedStage, StageStarted, Step, Warned
from core.exits import exit_method
from core.head.loss import token_statistics
from core.head.token_statistics import TokenStatistics, mean64
from core.machine.clock import Clock
from core.model import Transformer
from core.parallel.world import world
from core.protocol.order import BACKBONE, SHORTCUTS, block_stage, planned_stages, readout_order
from core.stages.backbone import cache_states
from core.stages.block_data import BlockData, from_states
from core.stages.readout import train_readout
from core.stages.shortcuts import fit_shortcuts
from core.stages.splits import Splits
from core.stages.statistics import BlockOutput, measured_alone

Stage = Generator[Event, None, Any]


class StageRunner(Protocol):
    """Carries out a stage: from a sibling run or the checkpoint where it is there, else computed and then kept."""

    def __call__(self, stage: PlannedStage, work: Callable[[], Stage], *, shared: bool = False) -> Stage: ...


@dataclass(frozen=True)
class Frozen:
    """The stages of one run, before its exits are set.

    Attributes:
        data: token ids of the training and the calibration windows.
        stage: carries out a stage whose result is kept.
        timed: carries out a stage that is computed anew.
    """

    config: RunConfig
    model: Transformer
    data: Splits[BlockData]
    stage: StageRunner
    timed: Callable[[PlannedStage, Stage], Stage]
    clock: Clock

    def outputs(self) -> Generator[Event, None, Sequence[BlockOutput]]:
        """Carry out the stages; return each block's output on the calibration windows, with no token gone."""
        windows = torch.cat([part.source for part in self._parts()])  # [N, T]
        with world().first_alone():  # the others find its states in the cache
            cache = yield from self.timed(
                BACKBONE, cache_states(self.model, windows, self.config, BACKBONE.name, self.clock)
            )
        outputs = yield from self.outputs_from(cache)
        return outputs

    def outputs_from(self, cache: StateCache) -> Generator[Event, None, Sequence[BlockOutput]]:
        """Carry out the stages after the pass, on its states: of the training windows, then of those held out."""
        if SHORTCUTS in planned_stages(self.config):
            fit = (self.model, cache, len(self.data.train.targets), self.config, SHORTCUTS.name, self.clock)
            weights = yield from self.stage(SHORTCUTS, partial(fit_shortcuts, *fit), shared=True)
            self.model.load_state_dict(weights, strict=False)
        for block in readout_order(self.config):
            stage = block_stage(block, "lm")
            arguments = (self.model, block, cache, self.data.train.targets, self.config, stage.name, self.clock)
            weights = yield from self.stage(stage, partial(train_readout, *arguments), shared=True)
            self.model.load_state_dict(weights, strict=False)
        statistics = list[TokenStatistics]()
        shared = not exit_method(self.config.method).extras
        for block in range(len(self.model.blocks)):
            stage = block_stage(block, "statistics")
            found = yield from self.stage(stage, partial(self._statistics, block, cache, stage.name), shared=shared)
            statistics.append(found)
        yield from self._judge_tokens(mean64(statistics[-1].cross_entropy))
        return _CachedOutputs(self.model, self.data.calibration, cache, statistics)

    def _judge_tokens(self, loss: float) -> Iterator[Warned]:
        """Warn of a model that predicts worse than chance: its tokens may be numbered otherwise than the text's."""
        chance = math.log(len(self.model.head.weight))
        if loss > chance:
            yield Warned(
                f"all blocks predict worse than chance ({loss:.2f} nats, chance {chance:.2f}): the "
                f"tokenizer may be another model's, or the model was not trained"
            )

    def _parts(self) -> list[BlockData]:
        return [self.data.train, *([] if self.data.heldout is None else [self.data.heldout])]

    def _calibration_windows(self, cache: StateCache) -> slice:
        return calibration_windows(cache, self.data.calibration)

    @torch.no_grad()
    def _statistics(self, block: int, cache: StateCache, stage: str) -> Generator[Event, None, TokenStatistics]:
        """Compute the statistics of a block's predictions on the calibration windows, and report its loss there."""
        targets, model, config = self.data.calibration.targets, self.model, self.config
        first, at_once = self._calibration_windows(cache).start, cache.windows_at_once
        starts, weight = range(0, len(targets), at_once), model.head_weight(block)
        flops = costs.head_flops(config.model, len(weight)) + costs.readout_flops(config.model, block)
        yield StageStarted(stage, "statistics", block, 1, len(starts), targets.numel(), flops=flops)
        extras, filled = exit_method(config.method).extras, 0
        found = TokenStatistics.empty(targets.numel(), weight, extras)
        for step, start in enumerate(starts, start=1):
            began, windows = time.perf_counter(), slice(start, start + at_once)
            wanted = targets[windows].flatten()
            states = cache.states(block, slice(first + start, first + start + len(targets[windows])))
            with self.clock.part("head", flops * len(wanted)):
                hidden = model.readout(block, states.to(wanted.device))
                found.fill(slice(filled, filled + len(wanted)), token_statistics(hidden, weight, wanted, extras))
            filled += len(wanted)
            yield Step(stage, 1, step, None, len(wanted), time.perf_counter() - began)
        yield measured_alone(stage, block, "calibration", "all", found, config)
        return found


class _CachedOutputs(Sequence[BlockOutput]):
    """The outputs of all blocks on the calibration windows; a block's states are read when it is asked for."""

    def __init__(
        self, model: Transformer, data: BlockData, cache: StateCache, statistics: list[TokenStatistics]
    ) -> None:
        self.model, self.data, self.cache, self.statistics = model, data, cache, statistics

    def __len__(self) -> int:
        return len(self.statistics)

    @overload
    def __getitem__(self, block: int) -> BlockOutput: ...
    @overload
    def __getitem__(self, block: slice) -> list[BlockOutput]: ...
    def __getitem__(self, block: int | slice) -> BlockOutput | list[BlockOutput]:
        if isinstance(block, slice):
            return [self[number] for number in range(len(self))[block]]
        entered = from_states(self._states(block - 1), self.data.targets) if block else self.data
        return BlockOutput(entered, self._states(block), self.statistics[block], tuple(self.statistics[block + 1 :]))

    def _states(self, block: int) -> torch.Tensor:
        """Return a block's states, `[N, T, D]`."""
        targets = self.data.targets
        states = self.cache.states(block, calibration_windows(self.cache, self.data))
        return states.view(*targets.shape, self.cache.dim).to(targets.device)


def calibration_windows(cache: StateCache, data: BlockData) -> slice:
    """Return which windows of a cache are those of calibration: its last ones."""
    return slice(cache.windows - len(data), cache.windows)
