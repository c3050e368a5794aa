"""The protocol as arithmetic: which tokens go through which parts of the model, and which arrays are held meanwhile.

How many epochs a block will train nobody knows. The low end of a span has the first epoch as the best one, after which
patience runs out; the high end uses all of `max_epochs`. What is fitted to nothing, thresholds and packing, is left
out. Imports no torch before it is asked.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core import costs
from core.config.derived import calibration_windows, early_stopping_windows
from core.config.run_config import RunConfig
from core.events import PlannedStage
from core.exits import exit_method
from core.protocol.order import block0_origin, planned_stages

TRAINED_COPIES = 12
"""Of the weights in training: themselves, gradients, two moments; the newest progress, with moments, twice while it
is replaced; the best epoch's, and a sibling's."""
LAYER_WIDTHS, LAYER_FFN_WIDTHS = 16, 4
"""Values that a layer keeps of each token for its backward pass, in units of `dim` and of `ffn_dim`."""
CHUNK_TOKENS, ACCELERATOR_CHUNK_TOKENS = 256, 1024
"""Tokens whose logits a thread, or a device that is no CPU, holds at once, as in `core.head.loss`."""
LEAST_SHARE = 128
"""Tokens worth a thread of their own, as there."""
LBFGS_EVALUATIONS = (25, 500)
"""Fewest and most passes over its tokens that L-BFGS takes to fit an exit classifier."""
EVALUATED_BYTES = 33
"""Of each evaluated token and block: loss, correctness, block; signal, probability, prediction; and their copies."""


@dataclass(frozen=True)
class Span:
    """A figure's lowest and highest value."""

    low: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Span":
        return Span(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Sizes:
    """What matters of a dataset."""

    train_windows: int
    eval_windows: int
    vocab_size: int


@dataclass(frozen=True)
class Pass:
    """Tokens that go through parts of the model.

    Attributes:
        blocks: the layers of each block they go through.
        heads: how many times, on average, a token goes through the head.
        trains: whether these parts are trained on them.
        classifier: whether it is an exit classifier, and nothing else.
    """

    tokens: Span
    blocks: tuple[int, ...] = ()
    heads: float = 1
    trains: bool = False
    classifier: bool = False


def epochs(config: RunConfig) -> Span:
    """The fewest and the most epochs of a block."""
    return Span(min(config.train.max_epochs, 1 + config.train.patience), config.train.max_epochs)


def experiment_passes(configs: Sequence[RunConfig], sizes: Sizes) -> Iterator[Pass]:
    """The passes of all runs; block 0 is trained once where the run before had the same (`StageMemory`)."""
    kept = None
    for config in configs:
        origin = block0_origin(config, "")
        yield from run_passes(config, sizes, reuses_block0=origin == kept)
        kept = origin


def run_passes(config: RunConfig, sizes: Sizes, *, reuses_block0: bool = False) -> Iterator[Pass]:
    """The passes of one run, in the order of the stages."""
    for stage in planned_stages(config):
        shared = stage.kind in ("lm", "statistics") and stage.block in (0, None) and not stage.ahead
        if not (shared and reuses_block0):
            yield from _stage_passes(stage, config, sizes)


def _stage_passes(stage: PlannedStage, config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    layers = config.model.block_layers
    if stage.kind == "evaluation":
        evaluated = _once(sizes.eval_windows * config.data.seq_len)
        yield Pass(evaluated, layers, len(layers))  # every block alone
        yield Pass(evaluated, layers, _heads(config))  # early exit
    elif stage.block is None:
        windows = sizes.train_windows - calibration_windows(sizes.train_windows, config)
        yield from _trainings(config, layers, windows, _heads_trained(config))
    else:
        yield from _block_passes(stage, stage.block, config, sizes)


def _block_passes(stage: PlannedStage, block: int, config: RunConfig, sizes: Sizes) -> Iterator[Pass]:
    """The passes of one block's stage; thresholds are left out."""
    width, layers = config.data.seq_len, config.model.block_layers
    held_out = calibration_windows(sizes.train_windows, config)
    windows, share = block_windows(config, sizes)[block], _shares_in(config)[block]
    if stage.kind == "lm":
        yield from _trainings(config, (layers[block],), windows, share)
    elif stage.kind == "exit classifier":
        tokens = held_out * width * config.exit.hard_ratio**block if held_out else windows * width * share
        yield Pass(_fits(config) * tokens, trains=True, classifier=True)
    elif stage.kind == "statistics" and stage.ahead:
        read = (held_out or sizes.train_windows) * width
        yield Pass(_once(read), layers[block:], share * (len(layers) - block))
    elif stage.kind == "statistics":
        yield Pass(_once((windows + held_out) * width), (layers[block],), share)
        if config.protocol == "staged" and block < len(layers) - 1:
            yield Pass(_once(sizes.eval_windows * width), layers[: block + 1], block + 1)  # block as trained


def block_windows(config: RunConfig, sizes: Sizes) -> list[int]:
    """Windows that each block reads: all that are not held out, or where hard tokens are repacked what these fill."""
    held_out, width = calibration_windows(sizes.train_windows, config), config.data.seq_len
    windows = [sizes.train_windows - held_out]
    ratio = config.exit.hard_ratio if _repacks(config) else 1.0
    for _ in config.model.block_layers[1:]:
        windows.append(int(windows[-1] * width * ratio) // width)
    return windows


def pass_flops(one: Pass, config: RunConfig, vocab_size: int) -> Span:
    """What a pass computes (`core.costs`)."""
    model, factor = config.model, costs.TRAINING if one.trains else 1
    if one.classifier:
        return one.tokens * (factor * costs.classifier_flops(model))
    layers = sum(one.blocks) * costs.layer_flops(model, config.data.seq_len)
    return one.tokens * (factor * (layers + one.heads * costs.head_flops(model, vocab_size)))


def memory(config: RunConfig, sizes: Sizes) -> int:
    """Bytes of the arrays a run holds at its largest: all that is kept to its end, and the larger of a training step
    and the evaluation."""
    model, number = config.model, 4 if config.machine.dtype == "float32" else 8
    staged, own_heads = config.protocol == "staged", config.train.head == "per_block"
    heads = len(model.block_layers) if own_heads else 1
    layers = max(model.block_layers) if staged else sum(model.block_layers)
    matrices = (1 if staged else heads) + (config.train.train_embedding and not model.tie_embedding)
    trained = matrices * sizes.vocab_size * model.dim + layers * costs.layer_parameters(model)
    tokens = [windows * config.data.seq_len for windows in block_windows(config, sizes)]
    outputs = sum(tokens) * (number * (model.dim + 2) + 9) + sum(tokens[1:]) * (number * model.dim + 8)
    words = 8 * config.data.seq_len * (sizes.train_windows + sizes.eval_windows)
    weights = number * (costs.parameters(model, sizes.vocab_size, heads) + (TRAINED_COPIES - 1) * trained)
    evaluation = EVALUATED_BYTES * config.data.seq_len * sizes.eval_windows * (len(model.block_layers) + 1)
    return weights + outputs + words + max(evaluation, number * _activations(config, sizes.vocab_size))


def _activations(config: RunConfig, vocab_size: int) -> int:
    """Values that a training step keeps for its backward pass; of the logits, one chunk of each thread, which sums its
    own gradient of the head."""
    model, tokens = config.model, config.train.batch_size * config.data.seq_len
    layer = LAYER_WIDTHS * model.dim + LAYER_FFN_WIDTHS * model.ffn_dim
    chunk, threads = ACCELERATOR_CHUNK_TOKENS, 1
    if config.machine.device in ("auto", "cpu"):
        chunk, threads = CHUNK_TOKENS, config.machine.threads or os.cpu_count() or 1
        threads = max(1, min(threads, tokens // LEAST_SHARE))
    head = (threads * chunk + (threads - 1) * model.dim) * vocab_size
    layers = max(model.block_layers) if config.protocol == "staged" else sum(model.block_layers)
    return tokens * (layers * layer + 2 * model.dim) + head


def _trainings(config: RunConfig, blocks: tuple[int, ...], windows: int, heads: float) -> Iterator[Pass]:
    """Training with early stopping."""
    width, held_out = config.data.seq_len, early_stopping_windows(windows, config)
    yield Pass(epochs(config) * ((windows - held_out) * width), blocks, heads, trains=True)
    yield Pass(epochs(config) * (held_out * width), blocks, heads)


def _repacks(config: RunConfig) -> bool:
    return config.protocol == "staged" and config.exit.hard_tokens == "repack"


def _shares_in(config: RunConfig) -> list[float]:
    """Share of the tokens of its windows that each block is trained and judged on."""
    return [
        1.0 if _repacks(config) else config.exit.hard_ratio**block for block in range(len(config.model.block_layers))
    ]


def _heads_trained(config: RunConfig) -> int:
    """How many blocks predict where all are trained together."""
    return 1 if config.protocol == "full_depth" else len(config.model.block_layers)


def _fits(config: RunConfig) -> Span:
    """How often the exit classifier goes through its tokens."""
    if config.exit.classifier_fit == "adam":
        return _once(config.exit.exit_epochs)
    return Span(*LBFGS_EVALUATIONS)


def _heads(config: RunConfig) -> float:
    """How many times a token that may leave early goes through the head, should the thresholds hold."""
    if config.protocol == "full_depth" or not exit_method(config.method).reads_head:
        return 1
    return sum(config.exit.hard_ratio**block for block in range(len(config.model.block_layers)))


def _once(tokens: float) -> Span:
    return Span(tokens, tokens)
