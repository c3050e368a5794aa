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
"""Forward passes that a training step is worth: one forward, and two products for each of its own backward (Kaplan
et al. 2020, table 1)."""


def layer_flops(model: ModelConfig, seq_len: int) -> int:
    """A layer: `2(4d² + 3·d·ffn)` for its weights, `4·d·T` for the attention over a whole window, masked or not."""
    weights = 4 * model.dim**2 + 3 * model.dim * model.ffn_dim
    return 2 * weights + 4 * model.dim * seq_len


def head_flops(model: ModelConfig, vocab_size: int) -> int:
    """The output head: `2·d·V`."""
    return 2 * model.dim * vocab_size


def block_flops(model: ModelConfig, block: int, seq_len: int) -> int:
    """The layers of a block."""
    return model.block_layers[block] * layer_flops(model, seq_len)


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


@dataclass(frozen=True)
class StepFlops:
    """What a training step really computes.

    Attributes:
        forward, backward: for each token of its windows, whether or not it is still in.
        head: for each prediction, with its gradients.
        predictions: of each token that is still in.
    """

    forward: int
    backward: int
    head: int
    predictions: int

    def total(self, tokens: int, active: int) -> int:
        """Windows of so many tokens, so many of which are still in."""
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
    """A step on consecutive blocks: two products backward for each one forward, less the gradients that nobody needs.

    Those are of the head's weight, where it is frozen, and of what the first layer reads, where nothing before it
    learns: `6d²`, for queries, keys and values. A norm that comes first learns.
    """
    forward = sum(block_flops(model, block, seq_len) for block in blocks)
    unneeded = 0 if input_learns or model.norm == "pre" else 6 * model.dim**2
    head = (2 + head_learns) * head_flops(model, vocab_size) + fits_classifier * TRAINING * classifier_flops(model)
    return StepFlops(forward, 2 * forward - unneeded, head, predictions)


def reading_flops(
    model: ModelConfig, blocks: Iterable[int], vocab_size: int, seq_len: int, active_share: float = 1.0
) -> float:
    """Blocks and the head after each, forward, for a token that is still in, of which that share of all tokens are."""
    layers = [block_flops(model, block, seq_len) for block in blocks]
    return sum(layers) / active_share + len(layers) * head_flops(model, vocab_size)


def full_flops(model: ModelConfig, vocab_size: int, seq_len: int) -> int:
    """The whole model, no exit: `n·L + H` with n layers."""
    return sum(model.block_layers) * layer_flops(model, seq_len) + head_flops(model, vocab_size)


@dataclass(frozen=True)
class ExitCosts:
    """What a token costs with early exit, in FLOPs, by where tokens leave.

    Attributes:
        reads_head: whether the signal needs the head for every token that arrives at an exit.
        exited_state: copy: a skipped layer costs its keys and values, k; drop: nothing; input: as much as any other.
    """

    model: ModelConfig
    vocab_size: int
    seq_len: int
    reads_head: bool
    exited_state: str = "copy"

    @property
    def full(self) -> int:
        """All blocks, no exit."""
        return full_flops(self.model, self.vocab_size, self.seq_len)

    def flops(self, exit_shares: Sequence[float]) -> float:
        """Mean over tokens, when that share of them leaves at each block.

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
        """Share of the full model's FLOPs that is saved; negative where the exits cost more than they save."""
        return 1 - self.flops(exit_shares) / self.full

    def break_even_rate(self, exit_shares: Sequence[float]) -> float | None:
        """Share of tokens that must leave early to cost as much as never exiting; None if no share does.

        Early exits share it as they share the tokens that leave in `exit_shares`: the cost is linear in it.
        """
        shallow = sum(exit_shares[:-1])
        nobody = [0.0] * (len(exit_shares) - 1) + [1.0]
        everybody = [share / shallow for share in exit_shares[:-1]] + [0.0] if shallow else [1.0] + nobody[:-1]
        least, most = self.flops(nobody), self.flops(everybody)
        return (least - self.full) / (least - most) if most <= self.full else None
