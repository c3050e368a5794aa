"""Linear cross-entropy in chunks of tokens: the head's loss without ever holding a batch's logits.

A head of V words turns N tokens into N × V logits: 570 MB for a batch of 2048 tokens and the 69,830 words of
WikiText-2. Here the product, the softmax and the gradient of a few hundred tokens at a time share one buffer that is
kept between calls, so memory does not grow with N and no page is faulted in twice. The per-token statistics that exit
labels and signals are made of fall out of the same pass.

Shapes: N tokens, D model width, V vocabulary size; n tokens of a chunk, T tiles of words.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.tiled_softmax import NO_EXTRAS as NO_EXTRAS  # what a loss gives beside its value is part of what it offers
from core.tiled_softmax import Extras as Extras
from core.tiled_softmax import Tile, join, softmax_tile
from core.tiled_softmax import TokenStatistics as TokenStatistics


@dataclass(frozen=True, slots=True)
class Chunking:
    """How many tokens are a chunk, and how many words a tile of its logits, on a kind of device."""

    tokens: int
    words: int


CPU = Chunking(tokens=256, words=3008)
"""A tile of float32 is 3 MB, which stays in the cache until the softmax and the next product have read it; with fewer
tokens or words matrix products lose speed. Rows a power of two apart would compete for the same few cache lines."""
ACCELERATOR = Chunking(tokens=1024, words=1_000_000)
"""Few and large kernels."""

_kept = threading.local()


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, products: torch.dtype | None = None
) -> tuple[Tensor, TokenStatistics]:
    """Cross-entropy of `softmax(hidden @ weight.T)` summed over tokens, and each token's statistics.

    Args:
        hidden: final states, `[N, D]`.
        weight: the head, `[V, D]`; its gradient is skipped when it does not require one.
        targets: word indices, int64 `[N]`.
        smoothing: share ε of each target that is spread over all words alike (Szegedy et al. 2016, section 7); of the
            loss alone, not of the statistics.
        products: number type that the three matrix products read and write; softmax, loss and sums of products keep
            the type of `hidden`. None: that type too.

    Returns:
        The summed loss in nats (scalar, differentiable once) and the statistics (not differentiable).
    """
    loss, *statistics = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, smoothing, products or hidden.dtype
    )
    return loss, TokenStatistics(*statistics)


def mean64(values: Tensor) -> float:
    """Mean in float64, on the CPU: not every device has that type."""
    return float(values.cpu().double().mean())


@torch.no_grad()
def token_statistics(hidden: Tensor, weight: Tensor, targets: Tensor, extras: Extras = NO_EXTRAS) -> TokenStatistics:
    """The statistics of `linear_cross_entropy` alone, and extras: one matrix product a chunk, no gradient."""
    statistics = TokenStatistics.empty(len(hidden), hidden, extras)
    for chunk in _chunks(hidden):
        states, words, notes = hidden[chunk], targets[chunk, None], []
        for tile in _tiles(weight):
            logits = torch.mm(states, weight[tile].t(), out=_room("tile", hidden, len(states), tile.stop - tile.start))
            notes.append(softmax_tile(logits, words, tile.start, extras)[1])
        statistics.fill(chunk, join(notes, words, len(weight))[0])
    return statistics


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, while each chunk's probabilities are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, products: torch.dtype
    ) -> tuple[Tensor, ...]:
        statistics = TokenStatistics.empty(len(hidden), hidden)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        head = weight.to(products)
        for chunk in _chunks(hidden):
            states, words = hidden[chunk], targets[chunk, None]
            notes, kept, means = [], [], []
            for tile, probabilities, note in _softmax(states, head, words):
                notes.append(note)
                kept.append((tile, probabilities))
                if grad_hidden is not None:
                    means.append(torch.mm(probabilities, head[tile]))
            found, shares = join(notes, words, len(head))
            statistics.fill(chunk, found)
            if grad_hidden is not None:
                grad_hidden[chunk] = sum(share * mean for share, mean in zip(shares.split(1, 1), means, strict=True))
            if grad_weight is not None:
                for share, (tile, probabilities) in zip(shares.split(1, 1), kept, strict=True):
                    _add_product(grad_weight[tile], probabilities.t(), (share * states).to(products))
        _subtract_targets(grad_hidden, grad_weight, hidden, weight, targets, smoothing)
        loss = statistics.cross_entropy.sum(dtype=torch.promote_types(hidden.dtype, torch.float32))
        if smoothing:  # ε × (logit of the target − mean logit), of each token
            loss = loss + smoothing * (hidden * (weight[targets] - weight.mean(0))).sum()
        ctx.grads = (grad_hidden, grad_weight)
        columns = tuple(column for _, column in statistics.columns() if column is not None)
        ctx.mark_non_differentiable(*columns)
        return (loss, *columns)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        grad_hidden, grad_weight = ctx.grads
        ctx.grads = None
        scale = grad_outputs[0]
        if scale != 1:
            grad_hidden = None if grad_hidden is None else grad_hidden * scale
            grad_weight = None if grad_weight is None else grad_weight * scale
        return grad_hidden, grad_weight, None, None, None


def _softmax(states: Tensor, head: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor, Tile]]:
    """Each tile of a chunk with its probabilities in the type of the head; they last until the next chunk."""
    kept = _room("chunk", head, len(states), len(head)).view(-1)
    left = states.to(head.dtype)
    for tile in _tiles(head):
        own = kept[len(states) * tile.start : len(states) * tile.stop].view(len(states), -1)
        logits = torch.mm(left, head[tile].t(), out=own)
        if head.dtype != states.dtype:
            logits = _room("tile", states, *logits.shape).copy_(logits)
        probabilities, note = softmax_tile(logits, targets, tile.start)
        yield tile, probabilities if head.dtype == states.dtype else own.copy_(probabilities), note


def _subtract_targets(
    grad_hidden: Tensor | None,
    grad_weight: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
) -> None:
    """Take what is expected under the targets from gradients that are of what is expected under the probabilities."""
    if grad_hidden is not None:
        grad_hidden.sub_(weight[targets], alpha=1 - smoothing)
    if grad_weight is not None:
        _add_rows(grad_weight, targets, hidden * (smoothing - 1))
    if smoothing and grad_hidden is not None:
        grad_hidden.sub_(weight.mean(0), alpha=smoothing)
    if smoothing and grad_weight is not None:
        grad_weight.sub_(hidden.sum(0), alpha=smoothing / len(weight))


def _add_rows(total: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add values to rows that may repeat, always in the same order: of the two ways each device has one that does."""
    if total.device.type == "cpu":
        total.index_add_(0, rows, values)
    else:
        total.index_put_((rows,), values, accumulate=True)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left @ right` to a sum that may be of a more exact type."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(torch.mm(left, right))


def _chunks(hidden: Tensor) -> list[slice]:
    return _parts(len(hidden), _chunking(hidden).tokens)


def _tiles(head: Tensor) -> list[slice]:
    return _parts(len(head), _chunking(head).words)


def _parts(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _chunking(tensor: Tensor) -> Chunking:
    return CPU if tensor.device.type == "cpu" else ACCELERATOR


def _room(role: str, like: Tensor, rows: int, width: int) -> Tensor:
    """`[rows, width]` that this thread keeps for a role; what is in it is from its last use."""
    kept: dict[str, Tensor] = _kept.__dict__
    found = kept.get(role)
    if found is None or (found.dtype, found.device) != (like.dtype, like.device) or len(found) < rows * width:
        found = kept[role] = like.new_empty(rows * width, requires_grad=False)
    return found[: rows * width].view(rows, width)
