"""The protocols: the stages of a run in order, as one generator of events.

staged: for each block, train it and the head, run it once over its windows, fit its exit classifier, set its
threshold, and pass the tokens below it to the next block. joint: train all blocks together, then do the other stages
for each block; with `train.exits_from`, exits are also set before each epoch from that one on, and later blocks train
on the tokens that stay. full_depth: train all blocks for the last one's prediction; there are no exits. frozen: of a
pretrained model, which is trained on first if `train.backbone` says so; see `core.protocol.frozen`. Methods that need
the later blocks are fitted, and their thresholds set, once all blocks are trained. Each protocol ends with the
evaluation.

Stages that do not depend on the exit method are computed once for all runs of an experiment (`StageMemory`); their
results are bit for bit those that each run would compute itself. A run that was interrupted does not repeat the
training that its checkpoint holds (`Checkpoint`).
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from core import costs
from core.config.derived import Shares, calibration_indices, loss_shares
from core.config.run_config import RunConfig
from core.data.windows import Dataset, Windows
from core.evaluation.evaluate import evaluate, evaluate_block, judge
from core.events import (
    FIXED_DEPTHS,
    Event,
    Measured,
    PlannedStage,
    RunFinished,
    RunStarted,
    Savings,
    StageEnded,
    StageStarted,
    Step,
    Warned,
)
from core.exits import exit_method, first_method
from core.exits._contract import ExitMethod
from core.generators import Returning, drained
from core.machine.clock import UNPROFILED, Clock
from core.machine.device import peak_flops, prepare
from core.machine.processes import peak_memory
from core.machine.thread_count import fewer_than_recorded
from core.model import Transformer
from core.parallel.world import world
from core.pricing.policy import Outcome
from core.protocol.build import build_model
from core.protocol.checkpoint import Checkpoint
from core.protocol.checkpoint_together import CheckpointTogether
from core.protocol.exits_in_training import leaving_blocks, policy_data
from core.protocol.frozen import Frozen
from core.protocol.memory import Shelf, StageMemory
from core.protocol.order import (
    EVALUATION,
    FORESEEN,
    PRICE,
    Part,
    block0_origin,
    block_stage,
    common_training,
    planned_stages,
    stages_ahead,
)
from core.stages.backbone_training import BackboneTrainer
from core.stages.block_data import BlockData, from_tokens
from core.stages.exit_classifier import fit_classifier
from core.stages.gain_fit import fit_gains, held_out_signal
from core.stages.hard_tokens import exit_signal, hard_tokens, report_threshold, set_threshold
from core.stages.lm import train_blocks
from core.stages.price import check_price, find_price
from core.stages.splits import Splits
from core.stages.statistics import BlockOutput, block_outputs, foreseen_outputs, own_outputs
from core.stages.trainer import Trainer, Weights

Result = TypeVar("Result")
Stage = Generator[Event, None, Result]


def train(
    config: RunConfig,
    dataset: Dataset,
    memory: StageMemory | None = None,
    checkpoint: Checkpoint | None = None,
    clock: Clock = UNPROFILED,
    threads: int | None = None,
) -> Generator[Event, None, None]:
    """Train and evaluate a model by the config's protocol, yielding events; the consumer may stop at any of them.

    Args:
        config: resolved config (`core.protocol.resolve`).
        dataset: dataset of `config.data`.
        memory: store of the stages that sibling runs share.
        checkpoint: store of the run's weights, from which an interrupted run resumes; None: nothing is written.
        clock: clock that times the parts of every stage.
        threads: number of threads that the run computed with before it was interrupted; None: the config's.

    Raises:
        ConfigError: no thresholds reach the target of a price.
        TrainingError: the loss diverged, or no hard tokens are left for a block.
    """
    check_price(config, dataset.vocabulary.size)
    began = time.perf_counter()
    threads = threads or config.machine.threads
    device = prepare(config, threads)
    model = build_model(config, dataset.vocabulary.size, to_train=True).to(device)
    train_windows, eval_windows = dataset.train.to(device), dataset.evaluation.to(device)
    yield RunStarted(
        stages=planned_stages(config),
        train_tokens=train_windows.targets.numel(),
        eval_tokens=eval_windows.targets.numel(),
        vocab_size=dataset.vocabulary.size,
        block_layers=config.model.block_layers,
        parameters=sum(weight.numel() for weight in model.parameters()),
        peak_flops=peak_flops(config),
        eval_bytes=dataset.evaluated_bytes,
        threads=torch.get_num_threads(),
    )
    if torch.get_num_threads() < threads:
        yield Warned(fewer_than_recorded(torch.get_num_threads(), threads))
    kept = CheckpointTogether(checkpoint) if world().size > 1 else checkpoint
    siblings = (memory or StageMemory()).shelf(block0_origin(config, dataset.fingerprint))
    stages = _Protocol(config, model, eval_windows, siblings, kept, clock)
    stages.token_bytes = torch.tensor(dataset.vocabulary.byte_lengths(), dtype=torch.int32, device=device)
    yield from stages.run(first_data(model, train_windows, config))
    yield RunFinished(time.perf_counter() - began, peak_memory())


def first_data(model: Transformer, windows: Windows, config: RunConfig) -> Splits[BlockData]:
    """Return the data of block 0, split into training and calibration windows if any are held out."""
    data = from_tokens(model, windows.inputs, windows.targets)
    held_out = calibration_indices(len(data), config)
    if not held_out:
        return Splits(data)
    calibrates = torch.zeros(len(data), dtype=torch.bool, device=data.targets.device)
    calibrates[held_out] = True
    return Splits(data[~calibrates], data[calibrates])


def exiting_tokens(model: Transformer, data: Splits[BlockData], config: RunConfig) -> Tensor:
    """Return the block at which each training token leaves, int64 `[N, T]`, under exits set with the present weights.

    The exits are those that the run would get if its training ended here. The model is left as it was, whatever its
    classifiers learn meanwhile, so the result depends on its weights alone.

    Args:
        data: of block 0, the token ids.
    """
    before = {name: weight.clone() for name, weight in model.classifiers.state_dict().items()}
    windows = Windows(data.train.source, data.train.targets)
    exits = _Protocol(config, model, windows, StageMemory().shelf(""), None, UNPROFILED)
    exits.planned = frozenset(stages_ahead(config))
    thresholds = drained(exits._looking_ahead(policy_data(data, config)))
    left_at = leaving_blocks(model, [thresholds[block] for block in sorted(thresholds)], windows, config)
    model.classifiers.load_state_dict(before)
    return left_at


class _Protocol:
    """The stages of one run, and the model and results they share."""

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
        self.planned = frozenset(planned_stages(config))
        self.token_bytes: Tensor | None = None
        self.as_trained: list[Measured] = []
        self.promised: Outcome | None = None

    def run(self, data: Splits[BlockData]) -> Iterator[Event]:
        """Carry out all planned stages, from the data of block 0."""
        if (stage := common_training(self.config)) in self.planned:
            leaving = partial(exiting_tokens, self.model, data, self.config) if self.config.train.exits_from else None
            yield from self._lm(stage, loss_shares(self.config), data.train, leaving)
            self.model.end_training()
        if self.config.protocol == "frozen":
            stages = Frozen(self.config, self.model, data, self._stage, self._timed, self.clock)
            thresholds = yield from self._set_exits((yield from stages.outputs()))
        else:
            thresholds = yield from self._block_by_block(data)
            thresholds |= yield from self._looking_ahead(data.calibration)
        if world().leads:
            yield from self._evaluation([thresholds[block] for block in sorted(thresholds)])

    def _block_by_block(self, data: Splits[BlockData]) -> Stage[dict[int, float]]:
        """Carry out the stages of each block in turn, on its active tokens; return the thresholds by block.

        The last block may have an exit too; its threshold is not returned.
        """
        method, thresholds = first_method(self.config.method), dict[int, float]()
        for block, stage in self._having("statistics"):
            if training := self._stage_of(block, "lm"):
                yield from self._lm(training, {block: 1.0}, data.train)
            shared = block == 0 and not method.extras
            work = partial(self._outputs, block, data, stage.name)
            outputs, alone = yield from self._stage(stage, work, shared=shared)
            outputs = own_outputs(outputs, data)
            self.as_trained += [alone] if alone else []
            if fit := self._stage_of(block, "exit"):
                yield from self._fit(fit, block, outputs.calibration, method)
            if setting := self._stage_of(block, "hard"):
                threshold = yield from self._threshold(setting, block, outputs.calibration, method)
                if block < self.last:
                    thresholds[block] = threshold
                    data = outputs.map(partial(self._next_data, block, method, threshold))
        return thresholds

    def _looking_ahead(self, data: BlockData) -> Stage[dict[int, float]]:
        """Set every exit but the last block's on the calibration windows, once all blocks are trained.

        Returns:
            The thresholds by block.
        """
        if FORESEEN not in self.planned:
            return {}
        method = exit_method(self.config.method)
        foreseen = foreseen_outputs(self.model, data, self.config, FORESEEN.name, method, self.clock)
        return (yield from self._set_exits((yield from self._timed(FORESEEN, foreseen))))

    def _set_exits(self, outputs: Sequence[BlockOutput]) -> Stage[dict[int, float]]:
        """Fit every exit but the last block's and set its threshold, from all blocks' outputs on the same tokens.

        No token has left there, so all exits are set on the same tokens with their whole context.

        Returns:
            The thresholds by block.
        """
        method = exit_method(self.config.method)
        signals = yield from self._signals_ahead(outputs, method)
        values: dict[int, float] = {}
        if PRICE in self.planned:
            vocab_size = self.model.embedding.num_embeddings
            search = find_price(outputs, signals, self.config, vocab_size, PRICE.name, self.clock)
            self.promised = yield from self._timed(PRICE, search)
            values = dict(enumerate(self.promised.thresholds))
        thresholds, arriving = dict[int, float](), torch.ones_like(signals[0], dtype=torch.bool)
        for block in range(self.last):
            stage, signal = block_stage(block, "threshold"), signals[block]
            if block not in values and not arriving.any():  # all have left, as constant signals have it
                arriving = torch.ones_like(arriving)
            work = report_threshold(block, signal[arriving], self.config, stage.name, self.clock, values.get(block))
            thresholds[block] = (yield from self._timed(stage, work)).threshold
            arriving = arriving & (signal < thresholds[block])
        return thresholds

    def _signals_ahead(self, outputs: Sequence[BlockOutput], method: ExitMethod) -> Stage[dict[int, Tensor]]:
        """Fit the exits' classifiers, from the last backwards, and return the signals of all tokens by block, `[n]`.

        Signals of gain exits are out of fold; those of other classifiers, a handful of weights, are of their own fit.
        """
        signals: dict[int, Tensor] = {}
        for block in reversed(range(self.last)):
            stage, output = self._stage_of(block, "refit"), outputs[block]
            if stage and method.predicts_gains:
                later = [signals[after] for after in sorted(signals)]
                fit = partial(fit_gains, self.model, block, output, later, self.config, stage.name, self.clock)
                weights = yield from self._fitted(stage, fit)
                signals[block] = held_out_signal(weights, block).to(output.states.device)
                continue
            if stage:
                yield from self._fit(stage, block, output, method)
            signals[block] = exit_signal(self.model, block, output, method, self.config)
        return signals

    def _having(self, part: Part) -> list[tuple[int, PlannedStage]]:
        """Return the blocks that have such a stage, each with the stage."""
        found = ((block, self._stage_of(block, part)) for block in range(self.last + 1))
        return [(block, stage) for block, stage in found if stage]

    def _stage_of(self, block: int, part: Part) -> PlannedStage | None:
        """Return a stage of a block; None if it is not planned."""
        stage = block_stage(block, part)
        return stage if stage in self.planned else None

    def _lm(
        self, stage: PlannedStage, shares: Shares, data: BlockData, leaving: Callable[[], Tensor] | None = None
    ) -> Stage[None]:
        train = partial(self._train, stage.name, shares, data, leaving)
        weights = yield from self._stage(stage, train, shared=0 in shares)
        self.model.load_state_dict(weights, strict=False)

    def _train(
        self, name: str, shares: Shares, data: BlockData, leaving: Callable[[], Tensor] | None
    ) -> Stage[Weights]:
        train = partial(
            train_blocks, self.model, shares, data, self.config, name,
            clock=self.clock, leaving=leaving, token_bytes=self.token_bytes,
            trainer_type=BackboneTrainer if self.config.model.pretrained else Trainer,
        )  # fmt: skip
        if self.checkpoint is None:
            return train()
        return train(self.checkpoint.progress(name), partial(self.checkpoint.keep_progress, name))

    def _outputs(
        self, block: int, data: Splits[BlockData], name: str
    ) -> Stage[tuple[Splits[BlockOutput], Measured | None]]:
        """Run a block over its windows; return its output and, in staged training, its loss on the evaluation split.

        The loss is None for the last block, where it equals that of all blocks.
        """
        method = first_method(self.config.method)
        outputs = yield from block_outputs(self.model, block, data, self.config, name, method, self.clock)
        if block == self.last or self.config.protocol != "staged" or not world().leads:
            return outputs, None
        with self.clock.part("evaluation", self._alone_flops(block)):
            alone = evaluate_block(self.model, block, self.eval_windows, self.config, name)
        yield alone
        return outputs, alone

    def _alone_flops(self, block: int) -> float:
        """Return the FLOPs of evaluating blocks 0 to `block` on the evaluation windows, each with its head."""
        targets, vocab_size = self.eval_windows.targets, len(self.model.head.weight)
        return targets.numel() * costs.reading_flops(self.config.model, range(block + 1), vocab_size, targets.shape[1])

    def _fit(self, stage: PlannedStage, block: int, output: BlockOutput, method: ExitMethod) -> Stage[None]:
        fit = partial(fit_classifier, self.model, block, output, method, self.config, stage.name, self.clock)
        yield from self._fitted(stage, fit)

    def _fitted(self, stage: PlannedStage, fit: Callable[[], Stage[Weights]]) -> Stage[Weights]:
        weights = yield from self._stage(stage, fit)
        self.model.load_state_dict(weights, strict=False)
        return weights

    def _threshold(self, stage: PlannedStage, block: int, output: BlockOutput, method: ExitMethod) -> Stage[float]:
        setting = set_threshold(self.model, block, output, method, self.config, stage.name, self.clock)
        threshold = yield from self._timed(stage, setting)
        return threshold.threshold

    def _next_data(self, block: int, method: ExitMethod, threshold: float, output: BlockOutput) -> BlockData:
        """Return the data of the next block: the tokens below the threshold."""
        signal = exit_signal(self.model, block, output, method, self.config)
        return hard_tokens(output, signal, threshold, self.config)

    def _evaluation(self, thresholds: list[float]) -> Stage[None]:
        results, saved = list[Measured](), None
        events = evaluate(self.model, thresholds, self.eval_windows, self.config, EVALUATION.name, self.clock)
        for event in self._timed(EVALUATION, events):
            if isinstance(event, Measured):
                results.append(event)
            elif isinstance(event, Savings):
                saved = event
            yield event
        early = next(result for result in results if result.way == "early exit")
        static = [result for result in results if result.way in FIXED_DEPTHS]
        if saved:
            yield from judge(early, [*self.as_trained, *static], saved, self.config, self.promised)

    def _stage(self, stage: PlannedStage, work: Callable[[], Stage[Result]], *, shared: bool = False) -> Stage[Result]:
        """Yield a stage's events and return its result: from a sibling run, else the checkpoint, else computed.

        The result is then stored wherever it was missing. The checkpoint stores trained weights only.

        Args:
            work: function that starts the stage.
            shared: whether the result does not depend on the method, so that sibling runs share it.
        """
        shelves: list[Shelf] = [self.siblings] if shared else []
        turn: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if stage.trains and self.checkpoint is not None:
            shelves.append(self.checkpoint)
            turn = self.checkpoint.turn(stage.name)
        with turn:
            kept = next((kept for shelf in shelves if (kept := shelf.recall(stage.name))), None)
            if kept is None:
                began, recorded = time.perf_counter(), list[Event]()
                result = yield from _recorded(recorded, self._profiled(stage, work()))
                news: tuple[Event, ...] = (StageEnded(stage.name, time.perf_counter() - began),)
                kept = (*recorded, *news), result
            else:
                news = tuple(replace(one, reused=True) if isinstance(one, StageStarted) else one for one in kept[0])
            for shelf in shelves:  # before it is said to have ended: who reads that finds it
                shelf.keep(stage.name, *kept)
        yield from news
        found: Result = kept[1]
        return found

    def _timed(self, stage: PlannedStage, work: Stage[Result]) -> Stage[Result]:
        """Carry out a stage; yield its profile and `StageEnded` after its events, and return its result."""
        began = time.perf_counter()
        result = yield from self._profiled(stage, work)
        yield StageEnded(stage.name, time.perf_counter() - began)
        return result

    def _profiled(self, stage: PlannedStage, work: Stage[Result]) -> Stage[Result]:
        """Carry out a stage; yield its profile after its events, and return its result."""
        self.clock.begin()
        result = yield from work
        yield from self.clock.read(stage.name)
        return result


def _recorded(events: list[Event], stage: Stage[Result]) -> Stage[Result]:
    """Carry out a stage, adding every event but its steps to `events`."""
    running = Returning(stage)
    for event in running:
        if not isinstance(event, Step):
            events.append(event)
        yield event
    return running.result
