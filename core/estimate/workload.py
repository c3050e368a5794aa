"""Work of a run, from its config alone: tokens through each part of the model, FLOPs, and memory.

The number of epochs of a block is not known beforehand. The low end of a span assumes that the first epoch is the best
and patience then runs out; the high end assumes all of `max_epochs`. Thresholds and packing are left out. Importing
this module does not import torch.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core import costs
from core.config.derived import (
    calibration_windows,
    early_stopping_windows,
    mapped_layers,
    predicts_gains,
    shortcut_windows,
    target_exit_shares,
    with_calibration_windows,
)
from core.config.layerskip import mean_predictions
from core.config.run_config import RunConfig
from core.events import PlannedStage
from core.exits import exit_method
from core.extensions.plugins import unpinned
from core.formulas import share_of_layers_saved
from core.head.chunks import LEAST_SHARE, chunking
from core.protocol.order import BACKBONE, FORESEEN, SHORTCUTS, block0_origin, planned_stages, stages_ahead

if TYPE_CHECKING:
    from core.data.windows import Dataset

TRAINED_COPIES = 12
"""Copies of the weights in training: weights, gradients and two moments; the progress with its moments, twice while it
is replaced; the weights of the best epoch, and a sibling run's."""
TRAINED_BACKBONE_COPIES = 11
"""The same of a pretrained model: it has no sibling's weights beside its own."""
LAYER_WIDTHS, LAYER_FFN_WIDTHS = 16, 4
"""Values that a layer keeps of each token for its backward pass, in units of `dim` and of `ffn_dim`."""
GAIN_FITS = {"linear": 8, "mlp": 2}
"""Fits of a gain exit that are compared: the mean gains and seven ridges, or the mean gains and the MLP."""
GAIN_COPIES = 8 * 5
"""Bytes for each value of a calibration token's state in the fit of a gain exit: float64, whole and without a fold."""
LBFGS_EVALUATIONS = (25, 500)
"""Smallest and largest number of passes over its tokens in an L-BFGS fit of an exit classifier."""
DTYPE_BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
UNPACKED_BYTES = 8
"""Bytes that a weight of a GGUF file takes while it is unpacked: in float32, and once more in the model."""
READOUT_COPIES = 5
"""A readout's weights, gradients and two moments, and the weights of its best epoch."""
ENTERED_AND_LEFT = 2
"""States of a calibration token that are held at once: those that entered a block, and those it made."""
MAPPED_COPIES, SOLVED_COPIES = 4, 6
"""Of the fit of a map in place of a layer: copies of its tokens' states, on top of one for each exit, and matrices as
large as a full map, in float64."""
HALVINGS = 20
"""Halvings of the interval in which the exit rate of a target of savings is sought."""
EVALUATED_BYTES = 33
"""Bytes for each evaluated token and block: loss, correctness, block, signal, probability, prediction, and copies."""


@dataclass(frozen=True)
class Span:
    """Lowest and highest value of a figure."""

    low: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Span":
        return Span(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a dataset."""

    train_windows: int
    eval_windows: int
    vocab_size: int

    @staticmethod
    def of(dataset: "Dataset") -> "Sizes":
        """Return the sizes of a dataset that is loaded."""
        return Sizes(len(dataset.train.inputs), len(dataset.evaluation.inputs), dataset.vocabulary.size)


@dataclass(frozen=True)
class Pass:
    """Tokens that go through parts of the model.

    Attributes:
        blocks: numbers of layers of the blocks they go through.
        heads: mean number of times that a token goes through the head.
        trains: whether these parts are trained on the tokens.
        classifier: whether the only part is an exit classifier.
    """

    tokens: Span
    blocks: tuple[int, ...] = ()
    heads: float = 1
    trains: bool = False
    classifier: bool = False


def epochs(config: RunConfig) -> Span:
    """Return the smallest and largest number of epochs of a block."""
    return Span(min(config.train.max_epochs, 1 + config.train.patience), config.train.max_epochs)


def experiment_passes(configs: Sequence[RunConfig], sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes of all runs; block 0 is trained once for consecutive runs that share it (`StageMemory`)."""
    kept = None
    for config in configs:
        origin = block0_origin(config, "")
        yield from run_passes(config, sizes, reuses_block0=origin == kept)
        kept = origin


def run_passes(config: RunConfig, sizes: Sizes, *, reuses_block0: bool = False) -> Iterator[Pass]:
    """Yield the passes of one run, in the order of its stages."""
    for stage in planned_stages(config):
        first = stage.block in (0, None) or config.protocol == "frozen"
        shared = stage.kind in ("lm", "statistics") and first and not stage.ahead
        if not (shared and reuses_block0):
            yield from stage_passes(stage, config, sizes)


def stage_passes(stage: PlannedStage, config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes of one stage, without its threshold."""
    layers = config.model.block_layers
    if stage.kind == "evaluation":
        evaluated = _once(sizes.eval_windows * config.data.seq_len)
        yield Pass(evaluated, layers, len(layers))  # every block alone
        yield Pass(evaluated, layers, _heads(config))  # early exit
        if config.data.stride:
            overlaps = evaluated * (config.data.seq_len / config.data.stride)
            yield Pass(overlaps, layers)
            yield Pass(overlaps, layers, _heads(config))
    elif stage == BACKBONE:
        yield Pass(_once(sizes.train_windows * config.data.seq_len), layers, heads=0)
    elif stage == SHORTCUTS:
        yield from _shortcut_passes(config, sizes)
    elif config.protocol == "frozen" and stage.block is not None and stage.kind in ("lm", "statistics"):
        yield from _readout_passes(stage, config, sizes)
    elif stage.kind == "statistics" and stage.block is None:  # every block, with no token gone
        read = calibration_windows(sizes.train_windows, config) or sizes.train_windows
        yield Pass(_once(read * config.data.seq_len), layers, len(layers))
    elif stage.block is None and stage.kind == "lm":
        windows = sizes.train_windows - calibration_windows(sizes.train_windows, config)
        yield from _trainings(config, layers, windows, _heads_trained(config))
        if config.train.exits_from:
            yield from _exits_in_training(config, windows, sizes)
    elif stage.block is not None:
        yield from _block_passes(stage, stage.block, config, sizes)


def _shortcut_passes(config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes of the fit of the maps in place of layers: of each layer, and of the sums for each exit."""
    model, width = config.model, config.data.seq_len
    windows = shortcut_windows(sizes.train_windows - calibration_windows(sizes.train_windows, config), width)
    fit = costs.least_squares_flops(model.dim) / costs.layer_flops(model, width)
    for block, (layers, mapped) in enumerate(zip(model.block_layers, mapped_layers(model.block_layers), strict=True)):
        if block:
            yield Pass(_once(windows * width * mapped / layers * (1 + fit * block)), (layers,), heads=0)


def _readout_passes(stage: PlannedStage, config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes of a pretrained model's readout, on cached states: its training, or its statistics."""
    width, held_out = config.data.seq_len, calibration_windows(sizes.train_windows, config)
    if stage.kind == "statistics":
        yield Pass(_once(held_out * width))
        return
    windows = sizes.train_windows - held_out
    stopping = early_stopping_windows(windows, config)
    matmuls = 2 + (config.train.readout_target == "last") + (config.model.readout == "head")
    fitted = epochs(config) * ((windows - stopping) * width)
    yield Pass(fitted, heads=matmuls / costs.TRAINING, trains=True)
    yield Pass(epochs(config) * (stopping * width))


def _block_passes(stage: PlannedStage, block: int, config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes of one block's stage, without its threshold."""
    width, layers = config.data.seq_len, config.model.block_layers
    held_out = calibration_windows(sizes.train_windows, config)
    windows, share = block_windows(config, sizes)[block], _shares_in(config)[block]
    if stage.kind == "lm":
        yield from _trainings(config, (layers[block],), windows, share)
    elif stage.kind == "exit classifier":
        arriving = 1.0 if stage.ahead else config.exit.hard_ratio**block
        tokens = held_out * width * arriving if held_out else windows * width * share
        fits = _once(GAIN_FITS[config.exit.classifier]) if stage.ahead and predicts_gains(config) else _fits(config)
        yield Pass(fits * tokens, trains=True, classifier=True)
    elif stage.kind == "statistics":
        yield Pass(_once((windows + held_out) * width), (layers[block],), share)
        if config.protocol == "staged" and block < len(layers) - 1:
            yield Pass(_once(sizes.eval_windows * width), layers[: block + 1], block + 1)  # block as trained


def block_windows(config: RunConfig, sizes: Sizes) -> list[int]:
    """Return the number of training windows of each block: smaller for later blocks where hard tokens are repacked."""
    held_out, width = calibration_windows(sizes.train_windows, config), config.data.seq_len
    windows = [sizes.train_windows - held_out]
    ratio = config.exit.hard_ratio if _repacks(config) else 1.0
    for _ in config.model.block_layers[1:]:
        windows.append(int(windows[-1] * width * ratio) // width)
    return windows


def pass_flops(one: Pass, config: RunConfig, vocab_size: int) -> Span:
    """Return the FLOPs of a pass (`core.costs`)."""
    model, factor = config.model, costs.TRAINING if one.trains else 1
    if one.classifier:
        return one.tokens * (factor * costs.classifier_flops(model))
    layers = sum(one.blocks) * costs.layer_flops(model, config.data.seq_len)
    return one.tokens * (factor * (layers + one.heads * costs.head_flops(model, vocab_size)))


def memory(config: RunConfig, sizes: Sizes) -> int:
    """Return the largest size in bytes of a run's arrays.

    It is the sum of all that is kept to the run's end and of the larger of a training step and the evaluation.
    """
    if config.model.pretrained:
        return _pretrained_memory(config, sizes)
    model, number = config.model, 4 if config.machine.dtype == "float32" else 8
    staged, own_heads = config.protocol == "staged", config.train.head == "per_block"
    heads = len(model.block_layers) if own_heads else 1
    layers = max(model.block_layers) if staged else sum(model.block_layers)
    matrices = (1 if staged else heads) + (config.train.train_embedding and not model.tie_embedding)
    trained = matrices * sizes.vocab_size * model.dim + layers * costs.layer_parameters(model)
    tokens = [windows * config.data.seq_len for windows in block_windows(config, sizes)]
    outputs = sum(tokens) * (number * (model.dim + 2) + 9) + sum(tokens[1:]) * (number * model.dim + 8)
    token_ids = 8 * config.data.seq_len * (sizes.train_windows + sizes.eval_windows)
    weights = number * (costs.parameters(model, sizes.vocab_size, heads) + (TRAINED_COPIES - 1) * trained)
    evaluation = EVALUATED_BYTES * config.data.seq_len * sizes.eval_windows * (len(model.block_layers) + 1)
    rest = weights + outputs + token_ids
    return rest + max(evaluation, number * _activations(config, sizes.vocab_size), _ahead(config, sizes, number))


def _pretrained_memory(config: RunConfig, sizes: Sizes) -> int:
    """Return the bytes of a run on a pretrained model; cached states are on the disk, but for the calibration's."""
    model, width, blocks = config.model, config.data.seq_len, len(config.model.block_layers)
    trained = config.train.backbone == "all"
    size = DTYPE_BYTES["float32" if trained else config.machine.dtype]
    loaded = UNPACKED_BYTES if unpinned(model.source).lower().endswith(".gguf") else size
    weights = loaded * costs.parameters(model, sizes.vocab_size) + (size < 4) * 4 * sizes.vocab_size * model.dim
    if trained:  # what a GGUF file takes while it is unpacked is given back before
        weights = 4 * TRAINED_BACKBONE_COPIES * costs.parameters(model, sizes.vocab_size)
    readouts = 4 * blocks * READOUT_COPIES * costs.readout_flops(model, 0) // 2
    heads = 4 * blocks * READOUT_COPIES * sizes.vocab_size * model.dim * (model.readout == "head")
    held_out = calibration_windows(sizes.train_windows, config)
    mapped = 0
    if SHORTCUTS in planned_stages(config):
        rows = (blocks + MAPPED_COPIES) * shortcut_windows(sizes.train_windows - held_out, width) * width
        mapped = 4 * rows * model.dim + 8 * SOLVED_COPIES * model.dim**2
        readouts += 4 * 2 * sum(mapped_layers(model.block_layers)) * costs.shortcut_parameters(model)
    calibration = held_out * width * model.dim
    fit = calibration * (4 * ENTERED_AND_LEFT + GAIN_COPIES * predicts_gains(config))
    evaluation = EVALUATED_BYTES * width * sizes.eval_windows * (blocks + 1)
    token_ids = 8 * width * (sizes.train_windows + sizes.eval_windows)
    return (
        weights
        + readouts
        + heads
        + token_ids
        + max(fit, mapped, evaluation, 4 * _activations(config, sizes.vocab_size))
    )


def _ahead(config: RunConfig, sizes: Sizes, number: int) -> int:
    """Return the bytes of setting exits once all blocks are trained: every block's states, and a gain exit's fit."""
    if FORESEEN not in planned_stages(config):
        return 0
    windows = calibration_windows(sizes.train_windows, config) or sizes.train_windows
    copies = number * len(config.model.block_layers) + GAIN_COPIES * predicts_gains(config)
    return windows * config.data.seq_len * config.model.dim * copies


def _activations(config: RunConfig, vocab_size: int) -> int:
    """Count the values that a training step keeps for its backward pass.

    Each thread holds one chunk of the logits, and all but the first a gradient of the head of their own.
    """
    model, tokens = config.model, config.train.batch_size * config.data.seq_len
    layer = LAYER_WIDTHS * model.dim + LAYER_FFN_WIDTHS * model.ffn_dim
    on_cpu, threads = config.machine.device in ("auto", "cpu"), 1
    if on_cpu:
        threads = max(1, min(config.machine.threads or os.cpu_count() or 1, tokens // LEAST_SHARE))
    head = (threads * chunking(on_cpu, vocab_size).tokens + (threads - 1) * model.dim) * vocab_size
    layers = max(model.block_layers) if config.protocol == "staged" else sum(model.block_layers)
    if config.protocol == "frozen" and config.train.backbone == "frozen":
        layers = 1  # nothing goes back through them
    return tokens * (layers * layer + 2 * model.dim) + head


def _trainings(config: RunConfig, blocks: tuple[int, ...], windows: int, heads: float) -> Iterator[Pass]:
    """Yield the passes of a training with early stopping: training and validation."""
    width, held_out = config.data.seq_len, early_stopping_windows(windows, config)
    yield Pass(epochs(config) * ((windows - held_out) * width), blocks, heads, trains=True)
    yield Pass(epochs(config) * (held_out * width), blocks, heads)


def _exits_in_training(config: RunConfig, windows: int, sizes: Sizes) -> Iterator[Pass]:
    """Yield the passes that set the exits before each epoch from `train.exits_from` on, and find who leaves at them.

    The training itself is counted with all tokens in all blocks: those that left are computed and discarded.
    """
    calibrated, span = with_calibration_windows(config), epochs(config)
    passes = [one for stage in stages_ahead(config) for one in stage_passes(stage, calibrated, sizes)]
    passes.append(Pass(_once(windows * config.data.seq_len), config.model.block_layers, _heads(config)))
    least, most = (max(0.0, each - config.train.exits_from + 1) for each in (span.low, span.high))
    for one in passes:
        yield replace(one, tokens=Span(one.tokens.low * least, one.tokens.high * most))


def _repacks(config: RunConfig) -> bool:
    return config.protocol == "staged" and config.exit.hard_tokens == "repack"


def _shares_in(config: RunConfig) -> list[float]:
    """Return, for each block, the share of its windows' tokens that it is trained and evaluated on.

    A pretrained model's blocks are read out for all tokens; else hard tokens are chosen by `hard_ratio`, whatever sets
    the thresholds in the end.
    """
    all_tokens = _repacks(config) or config.protocol == "frozen"
    return [1.0 if all_tokens else config.exit.hard_ratio**block for block in range(len(config.model.block_layers))]


def _heads_trained(config: RunConfig) -> float:
    """Return the mean number of blocks with a loss of their own where all are trained together."""
    if config.model.pretrained:
        return mean_predictions(config)
    return 1 if config.protocol == "full_depth" else len(config.model.block_layers)


def _fits(config: RunConfig) -> Span:
    """Return the number of passes over its tokens that fit an exit classifier."""
    if config.exit.classifier_fit == "adam":
        return _once(config.exit.exit_epochs)
    return Span(*LBFGS_EVALUATIONS)


def _heads(config: RunConfig) -> float:
    """Return the mean number of times that a token goes through the head under early exit, if the thresholds hold."""
    if config.protocol == "full_depth" or not exit_method(config.method).reads_head:
        return 1
    return sum(_staying(config) ** block for block in range(len(config.model.block_layers)))


def _staying(config: RunConfig) -> float:
    """Return the share of the arriving tokens that stays at each exit, as the policy aims at.

    savings: the one exit rate that saves as much. price, loss: all, as the rates are not known before the price is.
    """
    if config.exit.policy == "quantile":
        return config.exit.hard_ratio
    if config.exit.policy != "savings":
        return 1.0
    low, high, layers = 0.0, 1.0, config.model.block_layers
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shares = target_exit_shares(config.protocol, middle, len(layers))
        low, high = (middle, high) if share_of_layers_saved(shares, layers) > config.exit.savings else (low, middle)
    return high


def _once(tokens: float) -> Span:
    return Span(tokens, tokens)
