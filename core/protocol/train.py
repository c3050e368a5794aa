"""The protocols: the order of the stages, as one generator of events.

staged: for each block, train it and the head, run it once over its windows, fit its exit classifier, set its
threshold, and give the tokens below it to the next block. joint: train all blocks together, then the same for each but
for its training. full_depth: train all blocks for the last one's prediction; there are no exits. Methods that look
ahead are fitted, and their thresholds set, once all blocks are trained. Then evaluate.

What does not depend on the exit method is computed once for all runs of an experiment (`StageMemory`) and equals, bit
for bit, what each run would compute itself; and what was trained before a run was interrupted (`Checkpoint`) is not
trained again.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

from core import costs
from core.config.derived import Shares, loss_shares
from core.config.run_config import RunConfig
from core.data.windows import Dataset, Windows
from core.evaluation.evaluate import evaluate, evaluate_block, judge
from core.events import Event, Measured, RunFinished, RunStarted, Savings, StageEnded, StageStarted, Step
from core.exits._contract import ExitMethod
from core.exits._load import exit_method, first_method
from core.machine.clock import UNPROFILED, Clock
from core.machine.device import peak_flops, peak_memory, prepare
from core.model import Transformer, new_model
from core.protocol.checkpoint import Checkpoint
from core.protocol.memory import Shelf
from core.protocol.memory import StageMemory as StageMemory  # part of what the protocol offers
from core.protocol.order import (
    EVALUATION,
    block0_origin,
    decides_at_once,
    fits_classifier_afterwards,
    has_exit,
    looks_ahead,
    stage_name,
    trained_together,
)
from core.protocol.order import planned_stages as planned_stages  # part of what the protocol offers
from core.stages.block_data import BlockData, from_words
from core.stages.exit_classifier import fit_classifier
from core.stages.hard_tokens import exit_signal, hard_tokens, mask_hard_tokens, set_threshold
from core.stages.lm import train_blocks
from core.stages.splits import Splits, calibration_count
from core.stages.statistics import BlockOutput, block_outputs, foreseen_output, own_outputs
from core.stages.trainer import Weights

Result = TypeVar("Result")
Stage = Generator[Event, None, Result]


def train(
    config: RunConfig,
    dataset: Dataset,
    memory: StageMemory | None = None,
    checkpoint: Checkpoint | None = None,
    clock: Clock = UNPROFILED,
) -> Iterator[Event]:
    """Run the whole protocol, reporting as it goes; the consumer may stop at any event.

    Args:
        config: resolved (`core.machine.device.resolve`).
        dataset: made from `config.data`.
        memory: where siblings share what does not depend on the method.
        checkpoint: where the run's weights go, and come from if it was interrupted; without one nothing is written.
        clock: what takes the time of every stage's parts.

    Raises:
        TrainingError: the loss diverged, or no hard tokens are left for a block.
    """
    began = time.perf_counter()
    device = prepare(config)
    model = new_model(config, dataset.vocabulary.size).to(device)
    train_windows, eval_windows = dataset.train.to(device), dataset.evaluation.to(device)
    yield RunStarted(
        stages=planned_stages(config),
        train_tokens=train_windows.targets.numel(),
        eval_tokens=eval_windows.targets.numel(),
        vocab_size=dataset.vocabulary.size,
        block_layers=config.model.block_layers,
        parameters=sum(weight.numel() for weight in model.parameters()),
        peak_flops=peak_flops(config),
    )
    siblings = (memory or StageMemory()).shelf(block0_origin(config, dataset.fingerprint))
    yield from _Protocol(config, model, eval_windows, siblings, checkpoint, clock).run(
        first_data(model, train_windows, config)
    )
    yield RunFinished(time.perf_counter() - began, peak_memory())


def first_data(model: Transformer, windows: Windows, config: RunConfig) -> Splits[BlockData]:
    """What block 0 reads, without and with the windows that are held out for calibration."""
    data = from_words(model, windows.inputs, windows.targets)
    held_out = calibration_count(len(data), config)
    return Splits(data[: len(data) - held_out], data[len(data) - held_out :]) if held_out else Splits(data)


class _Protocol:
    """One run's way through the stages."""

    def __init__(
        self,
        config: RunConfig,
        model: Transformer,
        eval_windows: Windows,
        siblings: Shelf,
        checkpoint: Checkpoint | None,
        clock: Clock,
    ) -> None:
        self.config, self.model, self.eval_windows = config, model, eval_windows
        self.siblings, self.checkpoint, self.clock = siblings, checkpoint, clock
        self.last = len(model.blocks) - 1
        self.as_trained: list[Measured] = []

    def run(self, data: Splits[BlockData]) -> Iterator[Event]:
        thresholds: list[float] = []
        if self.config.protocol != "staged":
            yield from self._lm(trained_together(self.config), loss_shares(self.config), data.train)
        if decides_at_once(self.config):
            thresholds = yield from self._block_by_block(data)
        if looks_ahead(self.config):
            thresholds = yield from self._looking_ahead(data.calibration)
        yield from self._evaluation(thresholds)

    def _block_by_block(self, data: Splits[BlockData]) -> Stage[list[float]]:
        """Each block in turn, on the tokens that are still in; the thresholds of all exits but the last block's."""
        method, thresholds = first_method(self.config.method), list[float]()
        for block in range(self.last + 1):
            if self.config.protocol == "staged":
                yield from self._lm(stage_name(block, "lm"), {block: 1.0}, data.train)
            name = stage_name(block, "statistics")
            shared = block == 0 and not method.extras
            outputs, alone = yield from self._stage(name, partial(self._outputs, block, data, name), shared=shared)
            outputs = own_outputs(outputs, data)
            self.as_trained += [alone] if alone else []
            if has_exit(self.config, block):
                if fits_classifier_afterwards(self.config):
                    yield from self._fit(block, outputs.calibration, method, stage_name(block, "exit"))
                threshold = yield from self._threshold(block, outputs.calibration, method, stage_name(block, "hard"))
                if block < self.last:
                    thresholds.append(threshold)
                    data = outputs.map(partial(self._staying, block, method, threshold))
        return thresholds

    def _looking_ahead(self, data: BlockData) -> Stage[list[float]]:
        """Every exit but the last block's, once the later blocks are trained, on the calibration windows."""
        method, thresholds = exit_method(self.config.method), list[float]()
        for block in range(self.last):
            name = stage_name(block, "ahead")
            foreseen = foreseen_output(self.model, block, data, self.config, name, method, self.clock)
            output = yield from self._timed(name, foreseen)
            if method.learns:
                yield from self._fit(block, output, method, stage_name(block, "refit"))
            threshold = yield from self._threshold(block, output, method, stage_name(block, "threshold"))
            thresholds.append(threshold)
            signal = exit_signal(self.model, block, output, method, self.config)
            data = mask_hard_tokens(output, signal, threshold, self.config)
        return thresholds

    def _lm(self, name: str, shares: Shares, data: BlockData) -> Stage[None]:
        train = partial(self._train, name, shares, data)
        weights = yield from self._stage(name, train, shared=0 in shares, trains=True)
        self.model.load_state_dict(weights, strict=False)

    def _train(self, name: str, shares: Shares, data: BlockData) -> Stage[Weights]:
        train = partial(train_blocks, self.model, shares, data, self.config, name, clock=self.clock)
        if self.checkpoint is None:
            return train()
        return train(self.checkpoint.progress(name), partial(self.checkpoint.keep_progress, name))

    def _outputs(
        self, block: int, data: Splits[BlockData], name: str
    ) -> Stage[tuple[Splits[BlockOutput], Measured | None]]:
        """The block's output on its windows and, unless it is the last or all were trained together, its worth now."""
        method = first_method(self.config.method)
        outputs = yield from block_outputs(self.model, block, data, self.config, name, method, self.clock)
        if block == self.last or self.config.protocol != "staged":
            return outputs, None
        with self.clock.part("evaluation", self._alone_flops(block)):
            alone = evaluate_block(self.model, block, self.eval_windows, self.config, name)
        yield alone
        return outputs, alone

    def _alone_flops(self, block: int) -> float:
        """Of the evaluation windows through the blocks up to that one, each block asked for its prediction."""
        targets, vocab_size = self.eval_windows.targets, len(self.model.head.weight)
        return targets.numel() * costs.reading_flops(self.config.model, range(block + 1), vocab_size, targets.shape[1])

    def _fit(self, block: int, output: BlockOutput, method: ExitMethod, name: str) -> Stage[None]:
        fit = partial(fit_classifier, self.model, block, output, method, self.config, name, self.clock)
        weights = yield from self._stage(name, fit, trains=True)
        self.model.load_state_dict(weights, strict=False)

    def _threshold(self, block: int, output: BlockOutput, method: ExitMethod, name: str) -> Stage[float]:
        setting = set_threshold(self.model, block, output, method, self.config, name, self.clock)
        threshold = yield from self._timed(name, setting)
        return threshold.threshold

    def _staying(self, block: int, method: ExitMethod, threshold: float, output: BlockOutput) -> BlockData:
        """What the next block reads."""
        signal = exit_signal(self.model, block, output, method, self.config)
        return hard_tokens(output, signal, threshold, self.config)

    def _evaluation(self, thresholds: list[float]) -> Stage[None]:
        results, saved = list[Measured](), None
        events = evaluate(self.model, thresholds, self.eval_windows, self.config, EVALUATION, self.clock)
        for event in self._timed(EVALUATION, events):
            if isinstance(event, Measured):
                results.append(event)
            elif isinstance(event, Savings):
                saved = event
            yield event
        early = next(result for result in results if result.name == "early exit")
        static = [result for result in results if result.name not in ("early exit", "oracle")]
        if saved:
            yield from judge(early, [*self.as_trained, *static], saved, self.config)

    def _stage(
        self, name: str, work: Callable[[], Stage[Result]], *, shared: bool = False, trains: bool = False
    ) -> Stage[Result]:
        """The stage's events and result: a sibling's, else the checkpoint's, else computed; then all of them have it.

        Siblings share what does not depend on the method: block 0, or all that is trained together, but for exits.
        The checkpoint holds weights.
        """
        shelves: list[Shelf] = [self.siblings] if shared else []
        if trains and self.checkpoint is not None:
            shelves.append(self.checkpoint)
        kept = next((kept for shelf in shelves if (kept := shelf.recall(name))), None)
        if kept is None:
            recorded: list[Event] = []
            result = yield from _recorded(recorded, self._timed(name, work()))
            kept = tuple(recorded), result
        else:
            yield from (replace(event, reused=True) if isinstance(event, StageStarted) else event for event in kept[0])
        for shelf in shelves:
            shelf.keep(name, *kept)
        found: Result = kept[1]
        return found

    def _timed(self, name: str, stage: Stage[Result]) -> Stage[Result]:
        """The stage, closed by what the clock says and a `StageEnded`."""
        began = time.perf_counter()
        self.clock.begin()
        result = yield from stage
        yield from self.clock.read(name)
        yield StageEnded(name, time.perf_counter() - began)
        return result


def _recorded(events: list[Event], stage: Stage[Result]) -> Stage[Result]:
    """The stage, with every event but its steps also put into `events`."""
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            result: Result = end.value
            return result
        if not isinstance(event, Step):
            events.append(event)
        yield event
