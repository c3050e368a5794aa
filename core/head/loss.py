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
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from core.head.tiled_softmax import ChunkLoss, ChunkStatistics
from core.head.token_statistics import (
    NO_EXTRAS as NO_EXTRAS,  # what a loss gives beside its value is part of what it offers
)
from core.head.token_statistics import Extras as Extras
from core.head.token_statistics import TokenStatistics as TokenStatistics
from core.machine.threads import shares, side_by_side


@dataclass(frozen=True, slots=True)
class Chunking:
    """How many tokens are a chunk, and how many words a tile of its logits, on a kind of device."""

    tokens: int
    words: int


CPU = Chunking(tokens=256, words=3200)
"""A tile of float32 is 3 MB, which stays in the cache until the softmax and the next product have read it; with fewer
tokens or words matrix products lose speed. Rows a power of two apart would compete for the same few cache lines."""
ACCELERATOR = Chunking(tokens=1024, words=1_000_000)
"""Few and large kernels."""

LEAST_SHARE = 128
"""Tokens worth a thread of their own."""


class _Rooms:
    """Buffers for one share of the tokens, kept between calls; what is in one is from its last use."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, role: str, like: Tensor, rows: int, width: int) -> Tensor:
        """`[rows, width]` with the type and device of another tensor."""
        found = self._kept.get(role)
        if found is None or (found.dtype, found.device) != (like.dtype, like.device) or len(found) < rows * width:
            found = self._kept[role] = like.new_empty(rows * width, requires_grad=False)
        return found[: rows * width].view(rows, width)


class _Kept(threading.local):
    """The rooms of a thread's calls, which go with the thread."""

    def __init__(self) -> None:
        self.rooms: list[_Rooms] = []


_kept = _Kept()


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, products: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `softmax(hidden @ weight.T)`, summed over tokens and of each.

    Args:
        hidden: final states, `[N, D]`.
        weight: the head, `[V, D]`; its gradient is skipped when it does not require one.
        targets: word indices, int64 `[N]`.
        smoothing: share ε of each target that is spread over all words alike (Szegedy et al. 2016, section 7); of the
            sum alone, not of each token's.
        products: number type that the three matrix products read and write; softmax, loss and sums of products keep
            the type of `hidden`. None: that type too.

    Returns:
        The summed loss in nats (scalar, differentiable once) and that of each token (`[N]`, not differentiable).
    """
    loss, cross_entropy = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, smoothing, products or hidden.dtype, False
    )
    return loss, cross_entropy


def linear_cross_entropy_with_statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, products: torch.dtype | None = None
) -> tuple[Tensor, TokenStatistics]:
    """The same summed loss, and all statistics of each token, which take about a tenth of the time more."""
    loss, *statistics = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, smoothing, products or hidden.dtype, True
    )
    return loss, TokenStatistics(*statistics)


@torch.no_grad()
def token_statistics(hidden: Tensor, weight: Tensor, targets: Tensor, extras: Extras = NO_EXTRAS) -> TokenStatistics:
    """The statistics alone, and extras: one matrix product a chunk, no gradient."""
    statistics = TokenStatistics.empty(len(hidden), hidden, extras)

    def fill(share: slice, rooms: _Rooms) -> None:
        for chunk in _chunks(hidden, share):
            states, tiles = hidden[chunk], ChunkStatistics(targets[chunk, None], len(weight), extras)
            for words in _tiles(weight):
                room = rooms.take("tile", hidden, len(states), words.stop - words.start)
                tiles.softmax(torch.mm(states, weight[words].t(), out=room))
            statistics.fill(chunk, tiles.join()[0])

    side_by_side([partial(fill, share, rooms) for share, rooms in _shares(hidden)])
    return statistics


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, while each chunk's probabilities are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        products: torch.dtype,
        with_statistics: bool,
    ) -> tuple[Tensor, ...]:
        results = TokenStatistics.empty(len(hidden), hidden) if with_statistics else hidden.new_empty(len(hidden))
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        head, all_shares, others = weight.to(products), _shares(hidden), list[Tensor]()
        if grad_weight is not None:
            others = [rooms.take("gradient", weight, *weight.shape).zero_() for _, rooms in all_shares[1:]]
        work = partial(_expect, hidden, head, targets, results, grad_hidden)
        pairs = zip_longest((grad_weight, *others), all_shares)
        side_by_side([partial(work, total, share, rooms) for total, (share, rooms) in pairs])
        if grad_weight is not None:
            for other in others:
                grad_weight.add_(other)
        _subtract_targets(grad_hidden, grad_weight, hidden, weight, targets, smoothing)
        kinds = [results] if isinstance(results, Tensor) else [column for _, column in results.columns()]
        columns = [column for column in kinds if column is not None]  # the first is the cross-entropy
        loss = columns[0].sum(dtype=torch.promote_types(hidden.dtype, torch.float32))
        if smoothing:  # ε × (logit of the target − mean logit), of each token
            loss = loss + smoothing * (hidden * (weight[targets] - weight.mean(0))).sum()
        ctx.grads = (grad_hidden, grad_weight)
        ctx.mark_non_differentiable(*columns)
        return (loss, *columns)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        grad_hidden, grad_weight = ctx.grads
        ctx.grads = None
        scale = grad_outputs[0]
        if scale != 1:
            grad_hidden = None if grad_hidden is None else grad_hidden * scale
            grad_weight = None if grad_weight is None else grad_weight * scale
        return grad_hidden, grad_weight, None, None, None, None


def _expect(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    results: TokenStatistics | Tensor,
    grad_hidden: Tensor | None,
    grad_weight: Tensor | None,
    share: slice,
    rooms: _Rooms,
) -> None:
    """Of a share of the tokens, statistics or losses, and what the gradients expect under the probabilities."""
    for chunk in _chunks(hidden, share):
        states, kept, means = hidden[chunk], [], []
        left, words = states.to(head.dtype), targets[chunk, None]
        full = isinstance(results, TokenStatistics)
        tiles = (
            ChunkStatistics(words, len(head)) if full else ChunkLoss(_target_logits(left, head, words, hidden.dtype))
        )
        for tile, probabilities in _probabilities(left, head, tiles, states, rooms):
            kept.append((tile, probabilities))
            if grad_hidden is not None:
                means.append(torch.mm(probabilities, head[tile]))
        found, portions = tiles.join()
        _store(results, chunk, found)
        columns = portions.split(1, 1)
        if grad_hidden is not None:
            grad_hidden[chunk] = sum(portion * mean for portion, mean in zip(columns, means, strict=True))
        if grad_weight is not None:
            for portion, (tile, probabilities) in zip(columns, kept, strict=True):
                _add_product(grad_weight[tile], probabilities.t(), (portion * states).to(head.dtype))


def _probabilities(
    left: Tensor, head: Tensor, tiles: ChunkLoss | ChunkStatistics, like: Tensor, rooms: _Rooms
) -> Iterator[tuple[slice, Tensor]]:
    """Each tile of a chunk in the type of the head; they last until the next chunk. Softmax has the type of `like`."""
    kept = rooms.take("chunk", head, len(left), len(head)).view(-1)
    for tile in _tiles(head):
        own = kept[len(left) * tile.start : len(left) * tile.stop].view(len(left), -1)
        logits = torch.mm(left, head[tile].t(), out=own)
        if head.dtype == like.dtype:
            yield tile, tiles.softmax(logits)
        else:
            yield tile, own.copy_(tiles.softmax(rooms.take("tile", like, *own.shape).copy_(logits)))


def _target_logits(left: Tensor, head: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """What the product has for the targets `[n, 1]`, with its rounding to the type of the head."""
    pairs = left.to(dtype) * head[targets.squeeze(1)].to(dtype)
    return pairs.sum(1, keepdim=True).to(head.dtype).to(dtype)


def _store(results: TokenStatistics | Tensor, chunk: slice, found: TokenStatistics | Tensor) -> None:
    """Put what a chunk gave, which is of the kind of the results, at its place."""
    if isinstance(results, TokenStatistics):
        assert isinstance(found, TokenStatistics)
        results.fill(chunk, found)
    else:
        assert isinstance(found, Tensor)
        results[chunk] = found


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


def _shares(hidden: Tensor) -> list[tuple[slice, _Rooms]]:
    """The tokens of each thread, with rooms that belong to the caller's."""
    found = shares(len(hidden), LEAST_SHARE, hidden.device)
    _kept.rooms.extend(_Rooms() for _ in range(len(found) - len(_kept.rooms)))
    return list(zip(found, _kept.rooms, strict=False))


def _chunks(hidden: Tensor, share: slice) -> list[slice]:
    return _parts(share, _chunking(hidden).tokens)


def _tiles(head: Tensor) -> list[slice]:
    return _parts(slice(0, len(head)), _chunking(head).words)


def _parts(whole: slice, size: int) -> list[slice]:
    return [slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size)]


def _chunking(tensor: Tensor) -> Chunking:
    return CPU if tensor.device.type == "cpu" else ACCELERATOR
