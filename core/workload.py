"""The protocol as arithmetic: which tokens go through which parts of the model, and which arrays are held meanwhile.

How many epochs a block will train nobody knows. The low end of a span has the first epoch as the best one, after which
patience runs out; the high end uses all of `max_epochs`. What is fitted to nothing, thresholds and packing, is left
out. Imports no torch before it is asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core import costs
from core.config import RunConfig

TRAINED_COPIES = 12
"""Of the weights in training: themselves, gradients, two moments; the newest progress, with moments, twice while it
is replaced; the best epoch's, and a sibling's."""
LAYER_WIDTHS, LAYER_FFN_WIDTHS = 16, 4
"""Values that a layer keeps of each token for its backward pass, in units of `dim` and of `ffn_dim`."""
CHUNK_VALUES, FEWEST_CHUNK_TOKENS = 2 * 2**20, 64
"""Logits of one chunk, as in `core.losses`."""
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
        trains: whether these parts are trained on them; a block always with the head.
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
    from core.stage_order import block0_origin

    kept = None
    for config in configs:
        origin = block0_origin(config, "")
        yield from run_passes(config, sizes, reuses_block0=origin == kept)
        kept = origin


def run_passes(config: RunConfig, sizes: Sizes, *, reuses_block0: bool = False) -> Iterator[Pass]:
    """The passes of one run, in the order of the stages."""
    from core.stage_order import planned_stages, stage_name

    width, layers, stages = config.data.seq_len, config.model.block_layers, planned_stages(config)
    evaluated = _once(sizes.eval_windows * width)
    for block, windows in enumerate(block_windows(config, sizes)):
        if block > 0 or not reuses_block0:
            yield from _block_passes(config, block, windows)
            if block < len(layers) - 1:
                yield Pass(evaluated, layers[: block + 1], block + 1)  # block as trained
        if stage_name(block, "exit") in stages:
            yield Pass(_once(windows * width * config.exit.exit_epochs), trains=True, classifier=True)
    yield Pass(evaluated, layers, len(layers))  # every block alone
    yield Pass(evaluated, layers, _heads(config))  # early exit


def block_windows(config: RunConfig, sizes: Sizes) -> list[int]:
    """Windows that each block trains on: all, then the hard tokens of those before."""
    windows, width = [sizes.train_windows], config.data.seq_len
    for _ in config.model.block_layers[1:]:
        windows.append(int(windows[-1] * width * config.exit.hard_ratio) // width)
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
    embedding = sizes.vocab_size * model.dim
    trained = embedding + max(model.block_layers) * costs.layer_parameters(model)
    tokens = [windows * config.data.seq_len for windows in block_windows(config, sizes)]
    outputs = sum(tokens) * (number * (model.dim + 2) + 9) + sum(tokens[1:]) * (number * model.dim + 8)
    words = 8 * config.data.seq_len * (sizes.train_windows + sizes.eval_windows)
    weights = number * (costs.parameters(model, sizes.vocab_size) + (TRAINED_COPIES - 1) * trained)
    evaluation = EVALUATED_BYTES * config.data.seq_len * sizes.eval_windows * (len(model.block_layers) + 1)
    return weights + outputs + words + max(evaluation, number * _activations(config, sizes.vocab_size))


def _activations(config: RunConfig, vocab_size: int) -> int:
    """Values that a training step keeps for its backward pass; of the logits, those of one chunk."""
    model, tokens = config.model, config.train.batch_size * config.data.seq_len
    layer = LAYER_WIDTHS * model.dim + LAYER_FFN_WIDTHS * model.ffn_dim
    chunk = max(CHUNK_VALUES, FEWEST_CHUNK_TOKENS * vocab_size)
    return tokens * (max(model.block_layers) * layer + 2 * model.dim) + chunk


def _block_passes(config: RunConfig, block: int, windows: int) -> Iterator[Pass]:
    """Training with early stopping, then once over all windows."""
    blocks, width = (config.model.block_layers[block],), config.data.seq_len
    held_out = min(max(1, int(windows * config.train.val_ratio)), windows - 1)
    yield Pass(epochs(config) * ((windows - held_out) * width), blocks, trains=True)
    yield Pass(epochs(config) * (held_out * width), blocks)
    yield Pass(_once(windows * width), blocks)


def _heads(config: RunConfig) -> float:
    """How many times a token that may leave early goes through the head, should the thresholds hold."""
    from core.exits import exit_method

    if not exit_method(config.method).reads_head:
        return 1
    return sum(config.exit.hard_ratio**block for block in range(len(config.model.block_layers)))


def _once(tokens: float) -> Span:
    return Span(tokens, tokens)
