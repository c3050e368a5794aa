"""The staged protocol: the order of the stages, as one generator of events.

For each block: train it and the head, run it once over its windows, fit its exit classifier, set its threshold, and
pack the tokens below it for the next block. Then evaluate. What does not depend on the exit method is computed once
for all runs of an experiment (`StageMemory`) and equals, bit for bit, what each run would compute itself; and what was
trained before a run was interrupted (`Checkpoint`) is not trained again.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import torch

from core.checkpoint import Checkpoint
from core.config import RunConfig
from core.data.windows import Dataset, Windows
from core.errors import UsageError
from core.evaluate import evaluate, evaluate_block, judge
from core.events import Event, Measured, RunFinished, RunStarted, StageEnded, StageStarted, Step, Threshold
from core.exits import exit_method
from core.machine import peak_memory, prepare
from core.model import Transformer
from core.stages.batches import BlockData, from_words
from core.stages.exit_classifier import fit_classifier
from core.stages.hard_tokens import exit_signal, pack_hard_tokens, set_threshold
from core.stages.lm import Weights, fits_classifier_jointly, train_block
from core.stages.statistics import BlockOutput, block_output

Result = TypeVar("Result")
Stage = Generator[Event, None, Result]

EVALUATION = "evaluation"


class Shelf(Protocol):
    """Where finished stages are kept: their events, without steps, and what they returned."""

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """A stage, if it is there."""

    def keep(self, stage: str, events: Sequence[Event], result: Any) -> None:
        """Keep a stage; one that is there may stay."""


class StageMemory:
    """Results of finished stages, for the sibling runs of an experiment.

    It holds the stages of one origin (seed, data, model, training) at a time: an experiment runs all methods of
    a seed before the next seed.
    """

    def __init__(self) -> None:
        self._origin = ""
        self._finished: dict[str, tuple[tuple[Event, ...], Any]] = {}

    def shelf(self, origin: str) -> Shelf:
        """The stages of that origin; those of any other are forgotten."""
        if origin != self._origin:
            self._origin, self._finished = origin, {}
        return self

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """The events (without steps) and the result of a stage, if it was kept."""
        return self._finished.get(stage)

    def keep(self, stage: str, events: Sequence[Event], result: object) -> None:
        """Keep a finished stage."""
        self._finished[stage] = (tuple(events), result)


def train(
    config: RunConfig, dataset: Dataset, memory: StageMemory | None = None, checkpoint: Checkpoint | None = None
) -> Iterator[Event]:
    """Run the whole protocol, reporting as it goes; the consumer may stop at any event.

    Args:
        config: resolved (`core.machine.resolve`).
        dataset: made from `config.data`.
        memory: where siblings share what does not depend on the method.
        checkpoint: where the run's weights go, and come from if it was interrupted; without one nothing is written.

    Raises:
        TrainingError: the loss diverged, or no hard tokens are left for a block.
    """
    began = time.perf_counter()
    device = prepare(config)
    model = _new_model(config, dataset.vocabulary.size).to(device)
    train_windows, eval_windows = dataset.train.to(device), dataset.evaluation.to(device)
    yield RunStarted(
        stages=planned_stages(config),
        train_tokens=train_windows.targets.numel(),
        eval_tokens=eval_windows.targets.numel(),
        vocab_size=dataset.vocabulary.size,
        block_layers=config.model.block_layers,
        parameters=sum(weight.numel() for weight in model.parameters()),
    )
    siblings = (memory or StageMemory()).shelf(block0_origin(config, dataset.fingerprint))
    yield from _Protocol(config, model, eval_windows, siblings, checkpoint).run(
        from_words(model, train_windows.inputs, train_windows.targets)
    )
    yield RunFinished(time.perf_counter() - began, peak_memory())


def load_model(config: RunConfig, vocab_size: int, checkpoint: Checkpoint) -> Transformer:
    """The model that a finished run ended with, on the CPU.

    Raises:
        UsageError: the checkpoint does not hold all its weights.
    """
    model = _new_model(config, vocab_size)
    for stage in planned_stages(config):
        if stage.endswith((".lm", ".exit")):
            kept = checkpoint.recall(stage)
            if kept is None:
                raise UsageError(
                    f"{checkpoint.folder} does not hold the run's weights of {stage}: a run that did not finish can be "
                    f"resumed; any other must be trained again"
                )
            model.load_state_dict(kept[1], strict=False)
    return model


def planned_stages(config: RunConfig) -> tuple[str, ...]:
    """Names of all stages in their order."""
    names: list[str] = []
    for block in range(len(config.model.block_layers)):
        names += [stage_name(block, "lm"), stage_name(block, "statistics")]
        if _has_exit(config, block):
            if _fits_classifier_afterwards(config):
                names.append(stage_name(block, "exit"))
            names.append(stage_name(block, "hard"))
    return (*names, EVALUATION)


def stage_name(block: int, part: str) -> str:
    """How a stage is called in events, streams and checkpoints: `block0.lm`."""
    return f"block{block}.{part}"


class _Protocol:
    """One run's way through the stages."""

    def __init__(
        self,
        config: RunConfig,
        model: Transformer,
        eval_windows: Windows,
        siblings: Shelf,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.config, self.model, self.eval_windows = config, model, eval_windows
        self.siblings, self.checkpoint = siblings, checkpoint

    def run(self, data: BlockData) -> Iterator[Event]:
        thresholds: list[float] = []
        as_trained: list[Measured] = []
        last = len(self.model.blocks) - 1
        for block in range(last + 1):
            weights = yield from self._stage(block, "lm", partial(self._train, block, data), trains=True)
            self.model.load_state_dict(weights, strict=False)
            output, alone = yield from self._stage(block, "statistics", partial(self._output, block, data))
            if alone is not None:
                as_trained.append(alone)
            if _has_exit(self.config, block):
                threshold = yield from self._exit(block, output)
                if block < last:
                    thresholds.append(threshold.threshold)
                    signal = exit_signal(self.model, block, output, self.config)
                    data = pack_hard_tokens(output, signal, threshold.threshold)
        yield from self._evaluation(thresholds, as_trained)

    def _train(self, block: int, data: BlockData) -> Stage[Weights]:
        name = stage_name(block, "lm")
        if self.checkpoint is None:
            return train_block(self.model, block, data, self.config, name)
        progress, keep = self.checkpoint.progress(name), partial(self.checkpoint.keep_progress, name)
        return train_block(self.model, block, data, self.config, name, progress, keep)

    def _output(self, block: int, data: BlockData) -> Stage[tuple[BlockOutput, Measured | None]]:
        """The block's output on its windows and, the last block aside, its worth before later blocks move the head."""
        name = stage_name(block, "statistics")
        output = yield from block_output(self.model, block, data, self.config, name)
        if block == len(self.model.blocks) - 1:
            return output, None
        alone = evaluate_block(self.model, block, self.eval_windows, self.config, name)
        yield alone
        return output, alone

    def _exit(self, block: int, output: BlockOutput) -> Stage[Threshold]:
        if _fits_classifier_afterwards(self.config):
            fit = partial(fit_classifier, self.model, block, output, self.config, stage_name(block, "exit"))
            weights = yield from self._stage(block, "exit", fit, trains=True)
            self.model.load_state_dict(weights, strict=False)
        name = stage_name(block, "hard")
        threshold = yield from _timed(name, set_threshold(self.model, block, output, self.config, name))
        return threshold

    def _evaluation(self, thresholds: list[float], as_trained: list[Measured]) -> Stage[None]:
        results: list[Measured] = []
        for event in _timed(EVALUATION, evaluate(self.model, thresholds, self.eval_windows, self.config, EVALUATION)):
            if isinstance(event, Measured):
                results.append(event)
            yield event
        early = next(result for result in results if result.name == "early exit")
        static = [result for result in results if result.name not in ("early exit", "oracle")]
        if thresholds:
            yield from judge(early, [*as_trained, *static], self.config)

    def _stage(
        self, block: int, part: str, work: Callable[[], Stage[Result]], *, trains: bool = False
    ) -> Stage[Result]:
        """The stage's events and result: a sibling's, else the checkpoint's, else computed; then all of them have it.

        Siblings share what does not depend on the method: block 0 but for its exit. The checkpoint holds weights.
        """
        name = stage_name(block, part)
        shelves: list[Shelf] = [self.siblings] if block == 0 and part != "exit" else []
        if trains and self.checkpoint is not None:
            shelves.append(self.checkpoint)
        kept = next((kept for shelf in shelves if (kept := shelf.recall(name))), None)
        if kept is None:
            recorded: list[Event] = []
            result = yield from _recorded(recorded, _timed(name, work()))
            kept = tuple(recorded), result
        else:
            yield from (replace(event, reused=True) if isinstance(event, StageStarted) else event for event in kept[0])
        for shelf in shelves:
            shelf.keep(name, *kept)
        found: Result = kept[1]
        return found


def _timed(name: str, stage: Stage[Result]) -> Stage[Result]:
    """The stage, closed by a `StageEnded`."""
    began = time.perf_counter()
    result = yield from stage
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


def _new_model(config: RunConfig, vocab_size: int) -> Transformer:
    return Transformer(config.model, vocab_size, config.seed, getattr(torch, config.machine.dtype))


def _has_exit(config: RunConfig, block: int) -> bool:
    return config.exit.last_exit or block < len(config.model.block_layers) - 1


def _fits_classifier_afterwards(config: RunConfig) -> bool:
    return exit_method(config.method).learns and not fits_classifier_jointly(config)


def block0_origin(config: RunConfig, fingerprint: str) -> str:
    """All that block 0's training depends on; the method is part of it only where a classifier trains along."""
    joint = fits_classifier_jointly(config)
    return fingerprint + config.model_dump_json(exclude=None if joint else {"method", "exit"})
