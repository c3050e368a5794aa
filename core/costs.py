"""True cost: forward FLOPs per token, counting a multiply-add as 2 (`design.md`, section 5).

Only matrix products and attention count; embedding, norms, activations and the softmax over the vocabulary do not, as
in Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1. With 69,830 words and width 64 the head
is 94% of the model, so a signal that needs the head at every exit costs more than never exiting: count it.

Symbols: d = `dim`, T = `seq_len`, V = vocabulary size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from core.config.run_config import ModelConfig

TRAINING = 3
"""Cost of a training step in forward passes: one forward, and two matmuls backward for each of its own (Kaplan et al.
2020, table 1)."""


def layer_flops(model: ModelConfig, seq_len: int) -> int:
    """FLOPs of a layer: `2(4d² + 3·d·ffn)` for its weights, `4·d·T` for attention, masked or not."""
    weights = 4 * model.dim**2 + 3 * model.dim * model.ffn_dim
    return 2 * weights + 4 * model.dim * seq_len


def head_flops(model: ModelConfig, vocab_size: int) -> int:
    """FLOPs of the output head: `2·d·V`."""
    return 2 * model.dim * vocab_size


def block_flops(model: ModelConfig, block: int, seq_len: int) -> int:
    """FLOPs of a block's layers."""
    return model.block_layers[block] * layer_flops(model, seq_len)


def classifier_flops(model: ModelConfig) -> int:
    """FLOPs of an exit classifier: `2·d`."""
    return 2 * model.dim


def skipped_layer_flops(model: ModelConfig) -> int:
    """FLOPs of the keys and values of a skipped layer, for other tokens to attend to: `4d²`."""
    return 4 * model.dim**2


def layer_parameters(model: ModelConfig) -> int:
    """Number of weights of a layer, its two norms included."""
    return 4 * model.dim**2 + 3 * model.dim * model.ffn_dim + 2 * model.dim


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
        predictions: number of predictions per active token.
    """

    forward: int
    backward: int
    head: int
    predictions: int

    def total(self, tokens: int, active: int) -> int:
        """FLOPs of windows with that many tokens, `active` of them active."""
        return tokens * (self.forward + self.backward) + active * self.predictions * self.head


def step_flops(
    model: ModelConfig,
    blocks: Iterable[int],
    predictions: int,
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
    """FLOPs of the whole model without exits: `n·L + H` with n layers."""
    return sum(model.block_layers) * layer_flops(model, seq_len) + head_flops(model, vocab_size)


@dataclass(frozen=True)
class ExitCosts:
    """FLOPs per token of early exit, by the shares of tokens that leave at each block.

    Attributes:
        reads_head: whether the signal needs the head for every token that arrives at an exit.
        exited_state: cost of a skipped layer: copy: its keys and values, k; drop: nothing; input: all of it.
    """

    model: ModelConfig
    vocab_size: int
    seq_len: int
    reads_head: bool
    exited_state: str = "copy"

    @property
    def full(self) -> int:
        """FLOPs of all blocks without exits."""
        return full_flops(self.model, self.vocab_size, self.seq_len)

    def flops(self, exit_shares: Sequence[float]) -> float:
        """Mean FLOPs per token when these shares of the tokens leave at each block.

        With two blocks and a share p that leaves m layers early: `nL − p·m·(L−k) + H + c` where a classifier decides,
        `nL − p·m·(L−k) + (2−p)·H` where the head does. The last block decides nothing.
        """
        layer = layer_flops(self.model, self.seq_len)
        skipped = {"copy": skipped_layer_flops(self.model), "drop": 0, "input": layer}[self.exited_state]
        arriving = [1 - left for left in accumulate(exit_shares, initial=0.0)][: len(self.model.block_layers)]
        layers = sum(
            count * (share * layer + (1 - share) * skipped)
            for count, share in zip(self.model.block_layers, arriving, strict=True)
        )
        head = head_flops(self.model, self.vocab_size)
        if self.reads_head:
            return layers + sum(arriving) * head
        return layers + head + sum(arriving[:-1]) * classifier_flops(self.model)

    def savings(self, exit_shares: Sequence[float]) -> float:
        """Share of the full model's FLOPs that is saved; negative where exits cost more than they save."""
        return 1 - self.flops(exit_shares) / self.full

    def break_even_rate(self, exit_shares: Sequence[float]) -> float | None:
        """Share of tokens that must leave early to cost as much as never exiting; None if no share does.

        The exits keep their proportions in `exit_shares`; the cost is linear in the share.
        """
        shallow = sum(exit_shares[:-1])
        nobody = [0.0] * (len(exit_shares) - 1) + [1.0]
        everybody = [share / shallow for share in exit_shares[:-1]] + [0.0] if shallow else [1.0] + nobody[:-1]
        least, most = self.flops(nobody), self.flops(everybody)
        return (least - self.full) / (least - most) if most <= self.full else None
