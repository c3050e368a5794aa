"""True cost: forward FLOPs per token, counting a multiply-add as 2 (`design.md`, section 5).

Only matrix products and attention count; embedding, norms, activations and the softmax over the vocabulary do not, as
in Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1. With 69,830 words and width 64 the head
is 94% of the model, so a signal that needs the head at every exit costs more than never exiting: count it.

Symbols: d = `dim`, T = `seq_len`, V = vocabulary size; a = width of all heads and g = width of the heads of keys and
values, both d in our own models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Literal

from core.config.derived import classifier_outputs, classifier_width, mapped_layers
from core.config.run_config import ModelConfig, RunConfig
from core.formulas import each_alone

TRAINING = 3
"""Cost of a training step in forward passes: one forward, and two matmuls backward for each of its own (Kaplan et al.
2020, table 1)."""
ALL_GONE = 1e-9
"""Share of the tokens below which none is left."""
SHORTCUT_SHARE = 8
"""Width of a model over the rank of the linear maps that stand in for its layers."""


def attention_width(model: ModelConfig) -> int:
    """Width of all attention heads together, a."""
    return model.num_heads * model.head_dim or model.dim


def key_width(model: ModelConfig) -> int:
    """Width of the keys of a token, and of its values, g."""
    return attention_width(model) * (model.num_kv_heads or model.num_heads) // model.num_heads


def matrix_parameters(model: ModelConfig) -> int:
    """Number of weights of a layer's matrices: `2·d·a + 2·d·g + 3·d·ffn`, or `2·d·ffn` where `ffn` is plain."""
    feed_forward = (3 if model.ffn == "gated" else 2) * model.ffn_dim
    return model.dim * (2 * attention_width(model) + 2 * key_width(model) + feed_forward)


def layer_flops(model: ModelConfig, seq_len: int) -> int:
    """FLOPs of a layer: 2 for each weight of its matrices, `4·a·T` for attention, masked or not."""
    return 2 * matrix_parameters(model) + 4 * attention_width(model) * seq_len


def head_flops(model: ModelConfig, vocab_size: int) -> int:
    """FLOPs of the output head: `2·d·V`."""
    return 2 * model.dim * vocab_size


def block_flops(model: ModelConfig, block: int, seq_len: int) -> int:
    """FLOPs of a block's layers."""
    return model.block_layers[block] * layer_flops(model, seq_len)


def classifier_flops(model: ModelConfig, outputs: int = 1, hidden: int = 0) -> int:
    """FLOPs of an exit classifier: `2·d` for each output; with a hidden layer of width h, `2·d·h + 2·h` for each."""
    return 2 * (model.dim * hidden + hidden * outputs if hidden else model.dim * outputs)


def skipped_layer_flops(model: ModelConfig) -> int:
    """FLOPs of the keys and values of a skipped layer, for other tokens to attend to: `4·d·g`."""
    return 4 * model.dim * key_width(model)


def shortcut_rank(dim: int) -> int:
    """Rank of the linear map that stands in for a skipped layer (`exited_state=linear`), for a model of that width."""
    return max(1, dim // SHORTCUT_SHARE)


def shortcut_flops(model: ModelConfig) -> int:
    """FLOPs of the linear map of rank r that stands in for a skipped layer: `4·d·r`."""
    return 4 * model.dim * shortcut_rank(model.dim)


def shortcut_parameters(model: ModelConfig) -> int:
    """Number of weights of that map: `2·d·r`, its constant, and the one of a window's first token."""
    return 2 * model.dim * (shortcut_rank(model.dim) + 1)


def least_squares_flops(dim: int) -> int:
    """FLOPs per token of the sums from which a map of states of that width is fitted: `4·d²`."""
    return 4 * dim**2


def readout_flops(model: ModelConfig, block: int) -> int:
    """FLOPs of a block's readout, its norm aside: `2d²` for an affine map, `4d²` for an MLP of width d."""
    if block == len(model.block_layers) - 1 and not model.last_readout:
        return 0
    return {"affine": 2, "mlp": 4}.get(model.readout, 0) * model.dim**2


def layer_parameters(model: ModelConfig) -> int:
    """Number of weights of a layer, its two norms included."""
    return matrix_parameters(model) + 2 * model.dim


def parameters(model: ModelConfig, vocab_size: int, heads: int = 1) -> int:
    """Number of weights of the model: layers, embedding, heads, and per block a classifier and, under pre-norm, a
    readout.  Args: heads: number of heads; the first may be the embedding."""
    layers, blocks = sum(model.block_layers) * layer_parameters(model), len(model.block_layers)
    matrices = heads + (not model.tie_embedding)
    readouts = blocks * model.dim if model.norm == "pre" else 0
    return layers + readouts + matrices * vocab_size * model.dim + blocks * (model.dim + 1)


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of a training step, as really computed.

    Attributes:
        forward, backward: FLOPs per token of the windows, active or not.
        head: FLOPs per prediction, gradients included.
        predictions: mean number of predictions per active token.
    """

    forward: int
    backward: int
    head: int
    predictions: float

    def total(self, tokens: int, active: int) -> float:
        """FLOPs of windows with that many tokens, `active` of them active."""
        return tokens * (self.forward + self.backward) + active * self.predictions * self.head


def step_flops(
    model: ModelConfig,
    blocks: Iterable[int],
    predictions: float,
    vocab_size: int,
    seq_len: int,
    *,
    input_learns: bool,
    head_learns: bool,
    fits_classifier: bool,
) -> StepFlops:
    """FLOPs of a step on consecutive blocks: two matmuls backward for each one forward, minus gradients nobody needs.

    These are the gradient of the head's weight, where it is frozen, and of the first layer's input, where nothing
    before it learns: `6d²`, for queries, keys and values. A norm that comes first learns.
    """
    forward = sum(block_flops(model, block, seq_len) for block in blocks)
    unneeded = 0 if input_learns or model.norm == "pre" else 6 * model.dim**2
    head = (2 + head_learns) * head_flops(model, vocab_size) + fits_classifier * TRAINING * classifier_flops(model)
    return StepFlops(forward, 2 * forward - unneeded, head, predictions)


def reading_flops(
    model: ModelConfig, blocks: Iterable[int], vocab_size: int, seq_len: int, active_share: float = 1.0
) -> float:
    """FLOPs per active token of a forward pass through blocks, each with its head.

    Args:
        active_share: share of the tokens that are active; the blocks run all.
    """
    layers = [block_flops(model, block, seq_len) for block in blocks]
    return sum(layers) / active_share + len(layers) * head_flops(model, vocab_size)


def full_flops(model: ModelConfig, vocab_size: int, seq_len: int) -> int:
    """FLOPs of the whole model without exits: `n·L + H` with n layers, and the last block's readout."""
    return depth_flops(model, len(model.block_layers) - 1, vocab_size, seq_len)


def depth_flops(model: ModelConfig, block: int, vocab_size: int, seq_len: int) -> int:
    """FLOPs of predicting after a block, without other exits: its layers and those before, its readout, the head."""
    layers = sum(model.block_layers[: block + 1]) * layer_flops(model, seq_len)
    return layers + readout_flops(model, block) + head_flops(model, vocab_size)


def unattended(exit_shares: Sequence[float], attended: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the share of all tokens that left before each block and whose keys and values nobody needs there, `[K]`.

    Args:
        attended: share of all tokens that left before each block and that a token there can attend to, `[K]`; None: all
            that left, except where no token goes on to the block.
    """
    gone = tuple(accumulate(exit_shares[:-1], initial=0.0))  # [K]
    if attended is None:
        return tuple(share if share > 1 - ALL_GONE else 0.0 for share in gone)
    return tuple(share - seen for share, seen in zip(gone, attended, strict=True))


@dataclass(frozen=True)
class ExitCosts:
    """FLOPs per token of early exit, by the shares of tokens that leave at each block.

    Attributes:
        reads_head: whether the signal needs the head for every token that arrives at an exit.
        exited_state: cost of a skipped layer: copy: its keys and values, k; linear: these, and a linear map for the
            next layer's; drop: nothing; input: all of it; deferred: all of it as well, where a token that goes on
            attends to it.
        classifiers: FLOPs of each exit's classifier, 0 where the signal has none; None: `2·d` each.
        off: blocks whose exit is off: no signal is computed there.
    """

    model: ModelConfig
    vocab_size: int
    seq_len: int
    reads_head: bool
    exited_state: str = "copy"
    classifiers: tuple[int, ...] | None = None
    off: frozenset[int] = frozenset()

    @property
    def full(self) -> float:
        """FLOPs of all blocks without exits."""
        return full_flops(self.model, self.vocab_size, self.seq_len)

    @property
    def static(self) -> tuple[float, ...]:
        """FLOPs of a token that leaves at each block without any signals, as all others do, `[K]`."""
        blocks = range(len(self.model.block_layers))
        return tuple(depth_flops(self.model, block, self.vocab_size, self.seq_len) for block in blocks)

    def flops(self, exit_shares: Sequence[float], attended: Sequence[float] | None = None) -> float:
        """Mean FLOPs per token when these shares of the tokens leave at each block.

        Without `attended` they are the most that it can be under `deferred`.

        With two blocks and a share p that leaves m layers early: `nL − p·m·(L−k) + H + c` where a classifier decides,
        `nL − p·m·(L−k) + (2−p)·H` where the head does. The last block decides nothing.

        Args:
            attended: as in `unattended`.
        """
        free = zip(unattended(exit_shares, attended), self.keys_values, strict=True)
        return self._flops_if_attended(exit_shares) - sum(share * flops for share, flops in free)

    def _flops_if_attended(self, exit_shares: Sequence[float]) -> float:
        """Mean FLOPs per token if all keys and values are computed: linear in the shares."""
        arriving = [1 - left for left in accumulate(exit_shares, initial=0.0)][: len(self.model.block_layers)]
        left = sum(share * flops for share, flops in zip(exit_shares, self.leaving, strict=True))
        return left + sum(share * flops for share, flops in zip(arriving, self.arriving, strict=False))

    @property
    def leaving(self) -> tuple[float, ...]:
        """FLOPs of a token that leaves at each block, the signals of exits excepted, `[K]`.

        They are its layers, the keys and values of the layers it skips, and readout and head, unless a signal has read
        them.
        """
        layer, kept = layer_flops(self.model, self.seq_len), self.keys_values
        head, depths = head_flops(self.model, self.vocab_size), tuple(accumulate(self.model.block_layers))
        return tuple(
            depth * layer
            + sum(kept[block + 1 :])
            + (0 if self._head_is_read(block) else head)
            + (0 if self._has_signal(block) else readout_flops(self.model, block))
            for block, depth in enumerate(depths)
        )

    @property
    def keys_values(self) -> tuple[float, ...]:
        """FLOPs of a token in each block after the one it left at, `[K]`: keys and values for others to attend to.

        Where they are exact (`input`, `deferred`) they take the whole block.
        """
        layer, kept = layer_flops(self.model, self.seq_len), skipped_layer_flops(self.model)
        skipped = {"copy": kept, "linear": kept, "drop": 0}.get(self.exited_state, layer)
        mapped = shortcut_flops(self.model) if self.exited_state == "linear" else 0
        layers = self.model.block_layers
        maps = mapped_layers(layers) if mapped else (0,) * len(layers)
        return tuple(own * skipped + few * mapped for own, few in zip(layers, maps, strict=True))

    @property
    def arriving(self) -> tuple[float, ...]:
        """FLOPs of the signal of a token that arrives at each exit, `[K - 1]`; 0 where the exit is off.

        The readout comes before either kind of signal.
        """
        head, exits = head_flops(self.model, self.vocab_size), len(self.model.block_layers) - 1
        classifiers = self.classifiers or (classifier_flops(self.model),) * exits
        signals = (head,) * exits if self.reads_head else classifiers
        return tuple(
            0 if block in self.off else flops + readout_flops(self.model, block) for block, flops in enumerate(signals)
        )

    def _head_is_read(self, block: int) -> bool:
        return self.reads_head and self._has_signal(block)

    def _has_signal(self, block: int) -> bool:
        return block < len(self.model.block_layers) - 1 and block not in self.off

    def savings(self, exit_shares: Sequence[float], attended: Sequence[float] | None = None) -> float:
        """Share of the full model's FLOPs that is saved; negative where exits cost more than they save."""
        return 1 - self.flops(exit_shares, attended) / self.full

    @property
    def savings_if_attended(self) -> tuple[float, ...]:
        """Savings of a token that leaves at each block and whose keys and values are all computed, `[K]`."""
        depths = each_alone(len(self.model.block_layers))
        return tuple(1 - self._flops_if_attended(alone) / self.full for alone in depths)

    def break_even_rate(self, exit_shares: Sequence[float]) -> float | None:
        """Share of tokens that must leave early to cost as much as never exiting; None if no share does.

        The exits keep their proportions in `exit_shares`; the cost is linear in the share. Under `deferred` a share
        does not tell what is saved: None.
        """
        if self.exited_state == "deferred":
            return None
        shallow = sum(exit_shares[:-1])
        nobody = [0.0] * (len(exit_shares) - 1) + [1.0]
        everybody = [share / shallow for share in exit_shares[:-1]] + [0.0] if shallow else [1.0] + nobody[:-1]
        least, most = self._flops_if_attended(nobody), self._flops_if_attended(everybody)
        if most > self.full:
            return None
        return (least - self.full) / (least - most) if least > self.full else 0.0


def exit_costs(config: RunConfig, vocab_size: int, *, reads_head: bool, learns: bool) -> ExitCosts:
    """Return the costs of early exit in a run.

    Args:
        reads_head, learns: whether its method's signal reads the head, and whether it has a classifier; one that is
            neither costs nothing, as it takes no matrix product.
    """
    model, hidden = config.model, classifier_width(config)
    classifiers = tuple(
        classifier_flops(model, outputs, hidden) if learns else 0 for outputs in classifier_outputs(config)[:-1]
    )
    return ExitCosts(model, vocab_size, config.data.seq_len, reads_head, config.exit.exited_state, classifiers)


@dataclass(frozen=True)
class PricedCosts:
    """Cost of a token as a share of the whole model's: what a price is paid for (`exit.cost`).

    Attributes:
        leaving: cost of a token that leaves at each block, the signals of exits excepted, `[K]`.
        arriving: cost of the signal of a token that arrives at each exit, `[K - 1]`.
        keys_values: part of `leaving` that each later block takes, free where no token goes on to it, `[K]`; empty:
            nothing.
    """

    leaving: tuple[float, ...]
    arriving: tuple[float, ...]
    keys_values: tuple[float, ...] = ()

    def mean(self, exit_shares: Sequence[float], on: Sequence[bool]) -> float:
        """Mean cost when these shares of the tokens leave at each block, with those exits on."""
        staying, total = 1.0, 0.0
        for block, share in enumerate(exit_shares):
            signal = self.arriving[block] if block < len(self.arriving) and on[block] else 0.0
            total += staying * signal + share * self.leaving[block]
            staying -= share
        free = zip(unattended(exit_shares), self.keys_values, strict=False)
        return total - sum(share * cost for share, cost in free)

    def saved(self, block: int) -> tuple[float, ...]:
        """Cost that a token saves by leaving at a block instead of at each later one, with all exits on.

        To leave at a later exit it pays for that one's signal too.
        """
        spent, saved = 0.0, list[float]()
        for later in range(block + 1, len(self.leaving)):
            spent += self.arriving[later] if later < len(self.arriving) else 0.0
            saved.append(self.leaving[later] + spent - self.leaving[block])
        return tuple(saved)


@cache
def priced_costs(
    config: RunConfig,
    vocab_size: int,
    *,
    reads_head: bool,
    learns: bool,
    cost: Literal["layers", "flops"] | None = None,
) -> PricedCosts:
    """Return what a price is paid for in a run: layers, or FLOPs with the signals' own; None: as its config says.

    Where the signal reads the head, a token that leaves has its prediction already: `arriving` is the head's cost, and
    `leaving` is without it.
    """
    if (cost or config.exit.cost) == "layers":
        layers = config.model.block_layers
        return PricedCosts(tuple(depth / sum(layers) for depth in accumulate(layers)), (0.0,) * (len(layers) - 1))
    return as_shares(exit_costs(config, vocab_size, reads_head=reads_head, learns=learns))


def as_shares(flops: ExitCosts) -> PricedCosts:
    """Return costs of early exit as shares of the whole model's."""
    parts = (flops.leaving, flops.arriving, flops.keys_values)
    return PricedCosts(*(tuple(each / flops.full for each in part) for part in parts))
