"""Linear cross-entropy in chunks of tokens: the head's loss without ever holding a batch's logits.

A head of V words turns N tokens into N × V logits: 570 MB for a batch of 2048 tokens and the 69,830 words of
WikiText-2. Here the product, the softmax and the gradient of a few hundred tokens at a time share one buffer that is
kept between calls, so memory does not grow with N and no page is faulted in twice. The per-token statistics that exit
labels and signals are made of fall out of the same pass.

Shapes: N tokens, D model width, V vocabulary size.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 8 * 2**20
"""Size of the logits of one chunk: small enough for the last cache level. benchmarks/head_loss.py compares."""
CHUNK_TOKENS = (64, 512)
"""Fewest and most tokens of a chunk; below 64 the matrix products lose their speed."""

Extras = frozenset[str]
"""Names of the statistics that cost extra and are made only when asked for: `margin`, `entropy`."""
NO_EXTRAS: Extras = frozenset()

_kept = threading.local()


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """What one pass over the head says of each token.

    Attributes:
        cross_entropy: −log p(target) in nats, `[N]`.
        max_prob: the largest probability, `[N]`.
        correct: whether the most probable word is the target, bool `[N]`.
        prediction: the most probable word, int64 `[N]`.
        margin: the largest probability less the second largest, `[N]`; an extra, None where it was not asked for.
        entropy: of the probabilities, as a share of log V, its largest value, `[N]`; an extra.
    """

    cross_entropy: Tensor
    max_prob: Tensor
    correct: Tensor
    prediction: Tensor
    margin: Tensor | None = None
    entropy: Tensor | None = None

    def __getitem__(self, tokens: Tensor) -> "TokenStatistics":
        """The statistics of some of the tokens, by index or mask."""
        chosen = {name: None if column is None else column[tokens] for name, column in self._columns()}
        return TokenStatistics(**chosen)  # type: ignore[arg-type]  # the usual ones are never None

    def fill(self, tokens: slice, statistics: "TokenStatistics") -> None:
        """Note the statistics of these tokens."""
        for name, column in self._columns():
            if column is not None:
                column[tokens] = getattr(statistics, name)

    @staticmethod
    def empty(tokens: int, like: Tensor, extras: Extras = NO_EXTRAS) -> "TokenStatistics":
        """Room for `tokens` tokens, to be filled."""
        return TokenStatistics(
            cross_entropy=like.new_empty(tokens),
            max_prob=like.new_empty(tokens),
            correct=like.new_empty(tokens, dtype=torch.bool),
            prediction=like.new_empty(tokens, dtype=torch.int64),
            **{name: like.new_empty(tokens) for name in extras},
        )

    def _columns(self) -> Iterator[tuple[str, Tensor | None]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, TokenStatistics]:
    """Cross-entropy of `softmax(hidden @ weight.T)` summed over tokens, and each token's statistics.

    Args:
        hidden: final states, `[N, D]`.
        weight: the head, `[V, D]`; its gradient is skipped when it does not require one.
        targets: word indices, int64 `[N]`.
        smoothing: share ε of each target that is spread over all words alike (Szegedy et al. 2016, section 7); of the
            loss alone, not of the statistics.

    Returns:
        The summed loss in nats (scalar, differentiable once) and the statistics (not differentiable).
    """
    loss, *statistics = _LinearCrossEntropy.apply(hidden, weight, targets, smoothing)  # type: ignore[no-untyped-call]
    return loss, TokenStatistics(*statistics)


def mean64(values: Tensor) -> float:
    """Mean in float64, on the CPU: not every device has that type."""
    return float(values.cpu().double().mean())


@torch.no_grad()
def token_statistics(hidden: Tensor, weight: Tensor, targets: Tensor, extras: Extras = NO_EXTRAS) -> TokenStatistics:
    """The statistics of `linear_cross_entropy` alone, and extras: one matrix product a chunk, no gradient."""
    statistics = TokenStatistics.empty(len(hidden), hidden, extras)
    for chunk in _chunks(len(hidden), weight):
        logits = _logits(hidden[chunk], weight)
        target_logit = logits.gather(1, targets[chunk, None])
        _normalise(logits, target_logit, targets[chunk], statistics, chunk)
    return statistics


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, while each chunk's probabilities are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, ...]:
        statistics = TokenStatistics.empty(len(hidden), hidden)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        spread = hidden.new_zeros(())  # what smoothing adds to the cross-entropy: ε (logit of target − mean logit)
        for chunk in _chunks(len(hidden), weight):
            logits = _logits(hidden[chunk], weight)
            target_logit = logits.gather(1, targets[chunk, None])
            if smoothing:
                spread += smoothing * (target_logit.sum() - logits.mean(1).sum())
            total = _normalise(logits, target_logit, targets[chunk], statistics, chunk)
            grad = logits.div_(total)  # exp(logit − max) / total: the probabilities
            if smoothing:
                grad.sub_(smoothing / grad.shape[1])
            grad.scatter_add_(1, targets[chunk, None], torch.full_like(target_logit, smoothing - 1.0))
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight.addmm_(grad.t(), hidden[chunk])
        ctx.grads = (grad_hidden, grad_weight)
        loss = statistics.cross_entropy.sum(dtype=torch.promote_types(hidden.dtype, torch.float32))
        loss = loss + spread if smoothing else loss
        columns = tuple(column for _, column in statistics._columns() if column is not None)
        ctx.mark_non_differentiable(*columns)
        return (loss, *columns)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.grads
        ctx.grads = None
        scale = grad_outputs[0]
        if scale != 1:
            grad_hidden = None if grad_hidden is None else grad_hidden * scale
            grad_weight = None if grad_weight is None else grad_weight * scale
        return grad_hidden, grad_weight, None, None


def _chunks(tokens: int, weight: Tensor) -> list[slice]:
    few, many = CHUNK_TOKENS
    size = min(many, max(few, CHUNK_BYTES // (len(weight) * weight.element_size())))
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """`hidden @ weight.T` in this thread's buffer; valid until the next call."""
    kind = (len(weight), weight.dtype, weight.device)
    if getattr(_kept, "kind", None) != kind or len(_kept.buffer) < len(hidden):
        _kept.kind, _kept.buffer = kind, weight.new_empty(len(hidden), len(weight), requires_grad=False)
    return torch.mm(hidden, weight.t(), out=_kept.buffer[: len(hidden)])


def _normalise(
    logits: Tensor, target_logit: Tensor, targets: Tensor, statistics: TokenStatistics, chunk: slice
) -> Tensor:
    """Turn logits into exp(logit − max) in place, note the chunk's statistics, return the row sums `[n, 1]`."""
    top_logit, top_word = logits.max(1, keepdim=True)
    second_logit = None if statistics.margin is None else logits.topk(2, 1).values[:, 1:]
    total = logits.sub_(top_logit).exp_().sum(1, keepdim=True)
    statistics.cross_entropy[chunk] = (top_logit + total.log() - target_logit).squeeze(1)
    statistics.max_prob[chunk] = total.reciprocal().squeeze(1)
    statistics.prediction[chunk] = top_word.squeeze(1)
    statistics.correct[chunk] = statistics.prediction[chunk] == targets
    if statistics.margin is not None and second_logit is not None:
        statistics.margin[chunk] = ((1 - (second_logit - top_logit).exp()) / total).squeeze(1)
    if statistics.entropy is not None:
        statistics.entropy[chunk] = torch.special.entr(logits / total).sum(1) / math.log(logits.shape[1])
    return total
