"""True cost: forward FLOPs per token, counting a multiply-add as 2 (`design.md`, section 5).

Only matrix products and attention count; embedding, norms, activations and the softmax over the vocabulary do not, as
in Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1. With 69,830 words and width 64 the head
is 94% of the model, so a signal that needs the head at every exit costs more than never exiting: count it.

Symbols: d = `dim`, T = `seq_len`, V = vocabulary size.
"""

from collections.abc import Sequence
from itertools import accumulate

from core.config import ModelConfig

TRAINING = 3
"""Forward passes that a training step is worth: one forward, and two products for each of its own backward (Kaplan
et al. 2020, table 1)."""


def layer_flops(model: ModelConfig, seq_len: int) -> int:
    """A layer: `2(4d² + 3·d·ffn)` for its weights, `4·d·T` for the attention over a whole window, masked or not."""
    weights = 4 * model.dim**2 + 3 * model.dim * model.ffn_dim
    return 2 * weights + 4 * model.dim * seq_len


def head_flops(model: ModelConfig, vocab_size: int) -> int:
    """The output head: `2·d·V`."""
    return 2 * model.dim * vocab_size


def classifier_flops(model: ModelConfig) -> int:
    """An exit classifier: `2·d`."""
    return 2 * model.dim


def skipped_layer_flops(model: ModelConfig) -> int:
    """A layer that a token skips, but whose keys and values later tokens attend to: `4d²`."""
    return 4 * model.dim**2


def layer_parameters(model: ModelConfig) -> int:
    """Weights of a layer, its two norms included."""
    return 4 * model.dim**2 + 3 * model.dim * model.ffn_dim + 2 * model.dim


def parameters(model: ModelConfig, vocab_size: int, heads: int = 1) -> int:
    """Weights of the whole model: layers, embedding, heads, for each block an exit classifier and, pre-norm, a readout.

    Args:
        heads: how many there are; the first may be the embedding.
    """
    layers, blocks = sum(model.block_layers) * layer_parameters(model), len(model.block_layers)
    matrices = heads + (not model.tie_embedding)
    readouts = blocks * model.dim if model.norm == "pre" else 0
    return layers + readouts + matrices * vocab_size * model.dim + blocks * (model.dim + 1)


def training_flops(model: ModelConfig, block: int, vocab_size: int, seq_len: int) -> int:
    """Training a block and the head on one token: three times their forward pass.

    A little too much: no gradient is taken with respect to the block's input.
    """
    layers = model.block_layers[block] * layer_flops(model, seq_len)
    return TRAINING * (layers + head_flops(model, vocab_size))


def full_flops(model: ModelConfig, vocab_size: int, seq_len: int) -> int:
    """The whole model, no exit: `n·L + H` with n layers."""
    return sum(model.block_layers) * layer_flops(model, seq_len) + head_flops(model, vocab_size)


def early_exit_flops(
    model: ModelConfig,
    vocab_size: int,
    seq_len: int,
    exit_shares: Sequence[float],
    *,
    reads_head: bool,
    exited_state: str = "copy",
) -> float:
    """Mean over tokens, when that share of them leaves at each block.

    With two blocks and a share p that leaves m layers early: `nL − p·m·(L−k) + H + c` where a classifier decides,
    `nL − p·m·(L−k) + (2−p)·H` where the head does. The last block decides nothing.

    Args:
        reads_head: whether the signal needs the head for every token that arrives at an exit.
        exited_state: copy: a skipped layer costs its keys and values, k; drop: nothing; input: as much as any other.
    """
    layer = layer_flops(model, seq_len)
    skipped = {"copy": skipped_layer_flops(model), "drop": 0, "input": layer}[exited_state]
    arriving = [1 - left for left in accumulate(exit_shares, initial=0.0)][: len(model.block_layers)]
    layers = sum(
        count * (share * layer + (1 - share) * skipped)
        for count, share in zip(model.block_layers, arriving, strict=True)
    )
    head = head_flops(model, vocab_size)
    if reads_head:
        return layers + sum(arriving) * head
    return layers + head + sum(arriving[:-1]) * classifier_flops(model)


def break_even_rate(
    model: ModelConfig,
    vocab_size: int,
    seq_len: int,
    exit_shares: Sequence[float],
    *,
    reads_head: bool,
    exited_state: str = "copy",
) -> float | None:
    """Share of tokens that must leave early for early exit to cost as much as never exiting; None if no share does.

    Early exits share it as they share the tokens that leave in `exit_shares`: the cost is linear in it.
    """
    shallow = sum(exit_shares[:-1])
    nobody = [0.0] * (len(exit_shares) - 1) + [1.0]
    everybody = [share / shallow for share in exit_shares[:-1]] + [0.0] if shallow else [1.0] + nobody[:-1]
    least, most = (
        early_exit_flops(model, vocab_size, seq_len, shares, reads_head=reads_head, exited_state=exited_state)
        for shares in (nobody, everybody)
    )
    full = full_flops(model, vocab_size, seq_len)
    return (least - full) / (least - most) if most <= full else None
