"""The protocol of a pretrained model that stays as it is: the stages up to the thresholds.

The backbone runs once over the training windows. Then each readout is trained, each block's predictions on the
calibration windows are computed, and each exit is fitted and its threshold set on the tokens that no earlier exit let
go; all from the cached states. As all blocks are there from the start, methods that look at later blocks need no stages
of their own.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from core import costs
from core.backbones.state_cache import StateCache
from core.config.run_config import RunConfig
from core.events import Event, Measured, PlannedStage, StageStarted, Step, Threshold
from core.exits import exit_method
from core.formulas import share_of_layers_saved
from core.head.loss import token_statistics
from core.head.token_statistics import TokenStatistics, mean64
from core.machine.clock import Clock
from core.model import Transformer
from core.protocol.order import BACKBONE, block_stage, readout_order
from core.stages.backbone import cache_states
from core.stages.block_data import BlockData, from_states
from core.stages.exit_classifier import fit_classifier
from core.stages.hard_tokens import exit_signal, set_threshold
from core.stages.readout import train_readout
from core.stages.splits import Splits
from core.stages.statistics import BlockOutput

Stage = Generator[Event, None, Any]
READ_TOKENS = 4096
"""Tokens whose states are read at once."""


class StageRunner(Protocol):
    """Carries out a stage: from a sibling run or the checkpoint where it is there, else computed and then kept."""

    def __call__(self, stage: PlannedStage, work: Callable[[], Stage], *, shared: bool = False) -> Stage: ...


@dataclass(frozen=True)
class Frozen:
    """The stages of one run, up to its thresholds.

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

    def thresholds(self) -> Generator[Event, None, dict[int, float]]:
        """Carry out all stages; return the threshold of each block but the last."""
        windows = torch.cat([part.source for part in self._parts()])  # [N, T]
        cache = yield from self.timed(
            BACKBONE, cache_states(self.model, windows, self.config, BACKBONE.name, self.clock)
        )
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
        return (yield from self._exits(cache, statistics))

    def _parts(self) -> list[BlockData]:
        return [self.data.train, *([] if self.data.heldout is None else [self.data.heldout])]

    def _exits(self, cache: StateCache, statistics: list[TokenStatistics]) -> Generator[Event, None, dict[int, float]]:
        """Fit each exit and set its threshold, on the calibration tokens that are still there."""
        method, found, active = exit_method(self.config.method), dict[int, float](), None
        for block in range(len(self.model.blocks) - 1):
            output = self._output(block, cache, statistics, active)
            if method.learns:
                stage = block_stage(block, "exit")
                fit = partial(fit_classifier, self.model, block, output, method, self.config, stage.name, self.clock)
                weights = yield from self.stage(stage, fit)
                self.model.load_state_dict(weights, strict=False)
            stage = block_stage(block, "hard")
            setting = set_threshold(self.model, block, output, method, self.config, stage.name, self.clock)
            threshold: Threshold = yield from self.timed(stage, setting)
            found[block] = threshold.threshold
            stays = exit_signal(self.model, block, output, method, self.config) < threshold.threshold  # [n]
            if stays.any():  # else nobody will arrive at the next exit, and its threshold is set on these tokens
                before = torch.ones_like(output.targets, dtype=torch.bool) if active is None else active
                active = before.masked_scatter(before, stays)
        return found

    def _output(
        self, block: int, cache: StateCache, statistics: list[TokenStatistics], active: torch.Tensor | None
    ) -> BlockOutput:
        """Return a block's output on the calibration windows, with what is known of the active tokens' later blocks."""
        data, windows = self.data.calibration, self._calibration_windows(cache)
        shape = (*data.targets.shape, cache.dim)
        if block:
            entered = cache.states(block - 1, windows).view(shape).to(data.targets.device)
            data = from_states(entered, data.targets, active)
        else:
            data = replace(data, active=active)
        here, *later = (found if active is None else found[active.flatten()] for found in statistics[block:])
        states = cache.states(block, windows).view(shape).to(data.targets.device)
        return BlockOutput(data, states, here, tuple(later))

    def _calibration_windows(self, cache: StateCache) -> slice:
        return slice(cache.windows - len(self.data.calibration), cache.windows)

    @torch.no_grad()
    def _statistics(self, block: int, cache: StateCache, stage: str) -> Generator[Event, None, TokenStatistics]:
        """Compute the statistics of a block's predictions on the calibration windows, and report its loss there."""
        targets, model, config = self.data.calibration.targets, self.model, self.config
        first, at_once = self._calibration_windows(cache).start, max(1, READ_TOKENS // targets.shape[1])
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
        yield _measured(stage, block, found, config)
        return found


def _measured(stage: str, block: int, found: TokenStatistics, config: RunConfig) -> Measured:
    layers = config.model.block_layers
    shares = tuple(float(index == block) for index in range(len(layers)))
    return Measured(
        stage=stage,
        way="as trained",
        block=block,
        split="calibration",
        token_set="all",
        tokens=len(found.cross_entropy),
        loss=mean64(found.cross_entropy),
        accuracy=mean64(found.correct),
        exit_shares=shares,
        layer_savings=share_of_layers_saved(shares, layers),
    )
