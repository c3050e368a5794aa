"""The staged protocol: the order of the stages, as one generator of events.

For each block: train it and the head, run it once over its windows, fit its exit classifier, set its threshold, and
pack the tokens below it for the next block. Then evaluate. What does not depend on the exit method is computed once
for all runs of an experiment (`StageMemory`) and equals, bit for bit, what each run would compute itself.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from core.config import RunConfig
from core.data.windows import Dataset, Windows
from core.evaluate import evaluate, evaluate_block, judge
from core.events import Event, Measured, RunFinished, RunStarted, StageEnded, StageStarted, Step, Threshold
from core.exits import exit_method
from core.machine import peak_memory, prepare
from core.model import Transformer
from core.stages.batches import BlockData, from_words
from core.stages.exit_classifier import fit_classifier
from core.stages.hard_tokens import exit_signal, pack_hard_tokens, set_threshold
from core.stages.lm import fits_classifier_jointly, train_block
from core.stages.statistics import BlockOutput, block_output

Result = TypeVar("Result")
Stage = Generator[Event, None, Result]

EVALUATION = "evaluation"


class StageMemory:
    """Results of finished stages, for the sibling runs of an experiment.

    It holds the stages of one origin (seed, data, model, training) at a time: an experiment runs all methods of
    a seed before the next seed.
    """

    def __init__(self) -> None:
        self._origin = ""
        self._finished: dict[str, tuple[tuple[Event, ...], Any]] = {}

    def recall(self, origin: str, stage: str) -> tuple[tuple[Event, ...], Any] | None:
        """The events (without steps) and the result of a stage of that origin, if it was kept."""
        return self._finished.get(stage) if origin == self._origin else None

    def keep(self, origin: str, stage: str, events: tuple[Event, ...], result: object) -> None:
        """Keep a finished stage, and forget those of any other origin."""
        if origin != self._origin:
            self._origin, self._finished = origin, {}
        self._finished[stage] = (events, result)


def train(config: RunConfig, dataset: Dataset, memory: StageMemory | None = None) -> Iterator[Event]:
    """Run the whole protocol, reporting as it goes; the consumer may stop at any event.

    Args:
        config: resolved (`core.machine.resolve`).
        dataset: made from `config.data`.
        memory: where siblings share what does not depend on the method.

    Raises:
        TrainingError: the loss diverged, or no hard tokens are left for a block.
    """
    began = time.perf_counter()
    device = prepare(config)
    dtype = getattr(torch, config.machine.dtype)
    model = Transformer(config.model, dataset.vocabulary.size, config.seed, dtype).to(device)
    train_windows, eval_windows = dataset.train.to(device), dataset.evaluation.to(device)
    yield RunStarted(
        stages=planned_stages(config),
        train_tokens=train_windows.targets.numel(),
        eval_tokens=eval_windows.targets.numel(),
        vocab_size=dataset.vocabulary.size,
        block_layers=config.model.block_layers,
        parameters=sum(weight.numel() for weight in model.parameters()),
    )
    yield from _Protocol(config, model, eval_windows, dataset.fingerprint, memory or StageMemory()).run(
        from_words(model, train_windows.inputs, train_windows.targets)
    )
    yield RunFinished(time.perf_counter() - began, peak_memory())


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
        self, config: RunConfig, model: Transformer, eval_windows: Windows, fingerprint: str, memory: StageMemory
    ) -> None:
        self.config, self.model, self.eval_windows, self.memory = config, model, eval_windows, memory
        self.origin = _origin(config, fingerprint)

    def run(self, data: BlockData) -> Iterator[Event]:
        thresholds: list[float] = []
        as_trained: list[Measured] = []
        last = len(self.model.blocks) - 1
        for block in range(last + 1):
            weights = yield from self._stage(block, "lm", partial(self._train, block, data))
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

    def _train(self, block: int, data: BlockData) -> Stage[dict[str, torch.Tensor]]:
        return train_block(self.model, block, data, self.config, stage_name(block, "lm"))

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
            name = stage_name(block, "exit")
            yield from _timed(name, fit_classifier(self.model, block, output, self.config, name))
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

    def _stage(self, block: int, part: str, work: Callable[[], Stage[Result]]) -> Stage[Result]:
        """The stage's events and result, from a sibling where block 0 does not depend on what sets them apart."""
        name = stage_name(block, part)
        if block > 0:
            return (yield from _timed(name, work()))
        kept = self.memory.recall(self.origin, name)
        if kept is None:
            events: list[Event] = []
            result = yield from _recorded(events, _timed(name, work()))
            self.memory.keep(self.origin, name, tuple(events), result)
            return result
        yield from (replace(event, reused=True) if isinstance(event, StageStarted) else event for event in kept[0])
        reused: Result = kept[1]
        return reused


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


def _has_exit(config: RunConfig, block: int) -> bool:
    return config.exit.last_exit or block < len(config.model.block_layers) - 1


def _fits_classifier_afterwards(config: RunConfig) -> bool:
    return exit_method(config.method).learns and not fits_classifier_jointly(config)


def _origin(config: RunConfig, fingerprint: str) -> str:
    """All that block 0's training depends on; the method is part of it only where a classifier trains along."""
    joint = fits_classifier_jointly(config)
    return fingerprint + config.model_dump_json(exclude=None if joint else {"method", "exit"})
