"""The exits of a run: their classifiers fitted, their thresholds set."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.events import PlannedStage
from core.exits import exit_method
from core.exits._contract import ExitMethod
from core.model import Transformer
from core.pricing.policy import Outcome
from core.protocol.order import FORESEEN, PRICE, block_stage, stage_among
from core.protocol.runner import Runner, Stage
from core.stages.block_data import BlockData
from core.stages.exit_classifier import fit_classifier
from core.stages.gain_fit import fit_gains, held_out_signal
from core.stages.hard_tokens import exit_signal, report_threshold, set_threshold
from core.stages.price import find_price
from core.stages.statistics import BlockOutput, foreseen_outputs
from core.stages.trainer import Weights


@dataclass
class ExitSetting:
    """Fits and sets the exits of one model.

    Attributes:
        planned: the run's stages.
        promised: what the price's search expects of the thresholds; None without a price.
    """

    config: RunConfig
    model: Transformer
    runner: Runner
    planned: Collection[PlannedStage]
    promised: Outcome | None = None

    def looking_ahead(self, data: BlockData) -> Stage[dict[int, float]]:
        """Set every exit but the last block's on the calibration windows, once all blocks are trained.

        Returns:
            The thresholds by block.
        """
        if FORESEEN not in self.planned:
            return {}
        method = exit_method(self.config.method)
        foreseen = foreseen_outputs(self.model, data, self.config, FORESEEN.name, method, self.runner.clock)
        return (yield from self.set_all((yield from self.runner.timed(FORESEEN, foreseen))))

    def set_all(self, outputs: Sequence[BlockOutput]) -> Stage[dict[int, float]]:
        """Fit every exit but the last block's and set its threshold, from all blocks' outputs on the same tokens.

        No token has left there, so all exits are set on the same tokens with their whole context.

        Returns:
            The thresholds by block.
        """
        signals = yield from self.signals_ahead(outputs)
        values: dict[int, float] = {}
        if PRICE in self.planned:
            vocab_size = self.model.embedding.num_embeddings
            search = find_price(outputs, signals, self.config, vocab_size, PRICE.name, self.runner.clock)
            self.promised = yield from self.runner.timed(PRICE, search)
            values = dict(enumerate(self.promised.thresholds))
        thresholds, arriving = dict[int, float](), torch.ones_like(signals[0], dtype=torch.bool)
        for block in range(len(self.model.blocks) - 1):
            stage, signal = block_stage(block, "threshold"), signals[block]
            if block not in values and not arriving.any():  # all have left, as constant signals have it
                arriving = torch.ones_like(arriving)
            work = report_threshold(
                block, signal[arriving], self.config, stage.name, self.runner.clock, values.get(block)
            )
            thresholds[block] = (yield from self.runner.timed(stage, work)).threshold
            arriving = arriving & (signal < thresholds[block])
        return thresholds

    def signals_ahead(self, outputs: Sequence[BlockOutput]) -> Stage[dict[int, Tensor]]:
        """Fit the exits' classifiers, from the last backwards, and return the signals of all tokens by block, `[n]`.

        Signals of gain exits are out of fold; those of other classifiers, a handful of weights, are of their own fit.
        """
        method, signals = exit_method(self.config.method), dict[int, Tensor]()
        for block in reversed(range(len(self.model.blocks) - 1)):
            stage, output = stage_among(self.planned, block, "refit"), outputs[block]
            if stage and method.predicts_gains:
                later = [signals[after] for after in sorted(signals)]
                fit = partial(fit_gains, self.model, block, output, later, self.config, stage.name, self.runner.clock)
                weights = yield from self._fitted(stage, fit)
                signals[block] = held_out_signal(weights, block).to(output.states.device)
                continue
            if stage:
                yield from self.fit(stage, block, output, method)
            signals[block] = exit_signal(self.model, block, output, method, self.config)
        return signals

    def fit(self, stage: PlannedStage, block: int, output: BlockOutput, method: ExitMethod) -> Stage[None]:
        """Fit the classifier of a block's exit."""
        fit = partial(fit_classifier, self.model, block, output, method, self.config, stage.name, self.runner.clock)
        yield from self._fitted(stage, fit)

    def _fitted(self, stage: PlannedStage, fit: Callable[[], Stage[Weights]]) -> Stage[Weights]:
        weights = yield from self.runner.kept(stage, fit)
        self.model.load_state_dict(weights, strict=False)
        return weights

    def threshold(self, stage: PlannedStage, block: int, output: BlockOutput, method: ExitMethod) -> Stage[float]:
        """Set the threshold of a block's exit on the tokens that arrive there."""
        setting = set_threshold(self.model, block, output, method, self.config, stage.name, self.runner.clock)
        threshold = yield from self.runner.timed(stage, setting)
        return threshold.threshold
