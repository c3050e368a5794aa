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

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

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
    Warned,
)
from core.exits import first_method
from core.exits._contract import ExitMethod
from core.machine.clock import UNPROFILED, Clock
from core.machine.device import peak_flops, prepare
from core.machine.processes import peak_memory
from core.machine.thread_count import fewer_than_recorded
from core.model import Transformer
from core.parallel.world import world
from core.protocol.build import build_model
from core.protocol.checkpoint import Checkpoint
from core.protocol.checkpoint_together import CheckpointTogether
from core.protocol.exit_setting import ExitSetting
from core.protocol.exits_in_training import exiting_tokens
from core.protocol.frozen import Frozen
from core.protocol.memory import StageMemory
from core.protocol.order import (
    EVALUATION,
    Part,
    block0_origin,
    common_training,
    planned_stages,
    stage_among,
)
from core.protocol.runner import Runner, Stage
from core.stages.backbone_training import BackboneTrainer
from core.stages.block_data import BlockData, from_tokens
from core.stages.hard_tokens import exit_signal, hard_tokens
from core.stages.lm import train_blocks
from core.stages.price import check_price
from core.stages.splits import Splits
from core.stages.statistics import BlockOutput, block_outputs, own_outputs
from core.stages.trainer import Trainer, Weights


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
    stages = _Protocol(config, model, eval_windows, Runner(siblings, kept, clock))
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


class _Protocol:
    """The stages of one run, and the model and results they share."""

    def __init__(self, config: RunConfig, model: Transformer, eval_windows: Windows, runner: Runner) -> None:
        self.config, self.model, self.eval_windows = config, model, eval_windows
        self.runner, self.clock = runner, runner.clock
        self.last = len(model.blocks) - 1
        self.planned = frozenset(planned_stages(config))
        self.exits = ExitSetting(config, model, runner, self.planned)
        self.token_bytes: Tensor | None = None
        self.as_trained: list[Measured] = []

    def run(self, data: Splits[BlockData]) -> Iterator[Event]:
        """Carry out all planned stages, from the data of block 0."""
        if (stage := common_training(self.config)) in self.planned:
            leaving = partial(exiting_tokens, self.model, data, self.config) if self.config.train.exits_from else None
            yield from self._lm(stage, loss_shares(self.config), data.train, leaving)
            self.model.end_training()
        if self.config.protocol == "frozen":
            stages = Frozen(self.config, self.model, data, self.runner.kept, self.runner.timed, self.clock)
            thresholds = yield from self.exits.set_all((yield from stages.outputs()))
        else:
            thresholds = yield from self._block_by_block(data)
            thresholds |= yield from self.exits.looking_ahead(data.calibration)
        if world().leads:
            yield from self._evaluation([thresholds[block] for block in sorted(thresholds)])

    def _block_by_block(self, data: Splits[BlockData]) -> Stage[dict[int, float]]:
        """Carry out the stages of each block in turn, on its active tokens; return the thresholds by block.

        The last block may have an exit too; its threshold is not returned.
        """
        method, thresholds = first_method(self.config.method), dict[int, float]()
        for block, stage in self._having("statistics"):
            if training := stage_among(self.planned, block, "lm"):
                yield from self._lm(training, {block: 1.0}, data.train)
            shared = block == 0 and not method.extras
            work = partial(self._outputs, block, data, stage.name)
            outputs, alone = yield from self.runner.kept(stage, work, shared=shared)
            outputs = own_outputs(outputs, data)
            self.as_trained += [alone] if alone else []
            if fit := stage_among(self.planned, block, "exit"):
                yield from self.exits.fit(fit, block, outputs.calibration, method)
            if setting := stage_among(self.planned, block, "hard"):
                threshold = yield from self.exits.threshold(setting, block, outputs.calibration, method)
                if block < self.last:
                    thresholds[block] = threshold
                    data = outputs.map(partial(self._next_data, block, method, threshold))
        return thresholds

    def _having(self, part: Part) -> list[tuple[int, PlannedStage]]:
        """Return the blocks that have such a stage, each with the stage."""
        found = ((block, stage_among(self.planned, block, part)) for block in range(self.last + 1))
        return [(block, stage) for block, stage in found if stage]

    def _lm(
        self, stage: PlannedStage, shares: Shares, data: BlockData, leaving: Callable[[], Tensor] | None = None
    ) -> Stage[None]:
        train = partial(self._train, stage.name, shares, data, leaving)
        weights = yield from self.runner.kept(stage, train, shared=0 in shares)
        self.model.load_state_dict(weights, strict=False)

    def _train(
        self, name: str, shares: Shares, data: BlockData, leaving: Callable[[], Tensor] | None
    ) -> Stage[Weights]:
        train = partial(
            train_blocks, self.model, shares, data, self.config, name,
            clock=self.clock, leaving=leaving, token_bytes=self.token_bytes,
            trainer_type=BackboneTrainer if self.config.model.pretrained else Trainer,
        )  # fmt: skip
        if self.runner.checkpoint is None:
            return train()
        return train(self.runner.checkpoint.progress(name), partial(self.runner.checkpoint.keep_progress, name))

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

    def _next_data(self, block: int, method: ExitMethod, threshold: float, output: BlockOutput) -> BlockData:
        """Return the data of the next block: the tokens below the threshold."""
        signal = exit_signal(self.model, block, output, method, self.config)
        return hard_tokens(output, signal, threshold, self.config)

    def _evaluation(self, thresholds: list[float]) -> Stage[None]:
        results, saved = list[Measured](), None
        events = evaluate(self.model, thresholds, self.eval_windows, self.config, EVALUATION.name, self.clock)
        for event in self.runner.timed(EVALUATION, events):
            if isinstance(event, Measured):
                results.append(event)
            elif isinstance(event, Savings):
                saved = event
            yield event
        early = next(result for result in results if result.way == "early exit")
        static = [result for result in results if result.way in FIXED_DEPTHS]
        if saved:
            yield from judge(early, [*self.as_trained, *static], saved, self.config, self.exits.promised)
