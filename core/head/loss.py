"""Linear cross-entropy in chunks of tokens: the head's loss without ever holding a batch's logits.

A vocabulary of V tokens turns N predictions into N × V logits: 570 MB for a batch of 2048 tokens and the 69,830 words
of WikiText-2. Here matmul, softmax and gradient of a few hundred tokens at a time share one buffer that is kept between
calls, so memory does not grow with N and no page is faulted in twice. The per-token statistics that exit labels and
signals are made of fall out of the same pass.

Shapes: N tokens, D model width, V vocabulary size; n tokens of a chunk, v vocabulary entries of a tile, T tiles.
"""

import threading
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from core.head import chunks
from core.head.tiled_softmax import ChunkLoss, ChunkStatistics
from core.head.token_statistics import NO_EXTRAS, Extras, TokenStatistics
from core.machine.threads import shares, side_by_side


class _Buffers:
    """Buffers for one share of the tokens, kept between calls; each holds whatever its last use left in it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, role: str, like: Tensor, rows: int, width: int) -> Tensor:
        """Return a buffer `[rows, width]` with the dtype and device of another tensor."""
        found = self._kept.get(role)
        if found is None or (found.dtype, found.device) != (like.dtype, like.device) or len(found) < rows * width:
            found = self._kept[role] = like.new_empty(rows * width, requires_grad=False)
        return found[: rows * width].view(rows, width)


class _Kept(threading.local):
    """The buffers of one calling thread; they go with it."""

    def __init__(self) -> None:
        self.buffers: list[_Buffers] = []


_kept = _Kept()


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, matmul_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of `softmax(hidden @ weight.T)`, summed over tokens and per token.

    Args:
        hidden: final states, `[N, D]`.
        weight: the head, `[V, D]`; its gradient is skipped when it does not require one.
        targets: vocabulary indices, int64 `[N]`.
        smoothing: share ε of each target that is spread evenly over the vocabulary (label smoothing; Szegedy et al.
            2016, section 7); of the sum only, not of the per-token losses.
        matmul_dtype: dtype that the three matmuls read and write; softmax, loss and sums of chunks keep the dtype of
            `hidden`. None: that dtype too.

    Returns:
        The summed loss in nats (scalar, differentiable once) and each token's (`[N]`, not differentiable).
    """
    loss, cross_entropy = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, smoothing, matmul_dtype or hidden.dtype, False
    )
    return loss, cross_entropy


def linear_cross_entropy_with_statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, matmul_dtype: torch.dtype | None = None
) -> tuple[Tensor, TokenStatistics]:
    """Compute the same summed loss and all statistics of each token, which take about a tenth longer."""
    loss, *statistics = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, smoothing, matmul_dtype or hidden.dtype, True
    )
    return loss, TokenStatistics(*statistics)


@torch.no_grad()
def token_statistics(hidden: Tensor, weight: Tensor, targets: Tensor, extras: Extras = NO_EXTRAS) -> TokenStatistics:
    """Compute the statistics of `softmax(hidden @ weight.T)` per token: one matmul a chunk, no gradient.

    Args:
        hidden, weight, targets: as for `linear_cross_entropy`.
        extras: statistics beyond the usual ones.
    """
    statistics, size = TokenStatistics.empty(len(hidden), hidden, extras), _chunking(weight)
    columns = weight.t().split(size.entries, 1)  # T × [D, v]

    def fill(share: slice, buffers: _Buffers) -> None:
        for chunk in _parts(share, size.tokens):
            states, tiles = hidden[chunk], ChunkStatistics(targets[chunk, None], len(weight), extras)
            for part in columns:
                logits = buffers.take("tile", hidden, len(states), part.shape[1])  # [n, v]
                tiles.softmax(torch.mm(states, part, out=logits))
            statistics.fill(chunk, tiles.join()[0])

    side_by_side([partial(fill, share, buffers) for share, buffers in _shares(hidden)])
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
        matmul_dtype: torch.dtype,
        with_statistics: bool,
    ) -> tuple[Tensor, ...]:
        results = TokenStatistics.empty(len(hidden), hidden) if with_statistics else hidden.new_empty(len(hidden))
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None  # [N, D]
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # [V, D]
        head, all_shares, others = weight.to(matmul_dtype), _shares(hidden), list[Tensor]()
        if grad_weight is not None:  # each thread adds to a gradient of its own, [V, D]; the first to the result
            others = [buffers.take("gradient", weight, *weight.shape).zero_() for _, buffers in all_shares[1:]]
        work = partial(_forward_share, hidden, head, targets, results, grad_hidden)
        pairs = zip_longest((grad_weight, *others), all_shares)
        side_by_side([partial(work, total, share, buffers) for total, (share, buffers) in pairs])
        if grad_weight is not None:
            for other in others:
                grad_weight.add_(other)
        _subtract_target_term(grad_hidden, grad_weight, hidden, weight, targets, smoothing)
        kinds = [results] if isinstance(results, Tensor) else [column for _, column in results.columns()]
        columns = [column for column in kinds if column is not None]  # the first is the cross-entropy, [N]
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


def _forward_share(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    results: TokenStatistics | Tensor,
    grad_hidden: Tensor | None,
    grad_weight: Tensor | None,
    share: slice,
    buffers: _Buffers,
) -> None:
    """Forward one thread's tokens: fill `results` and add the softmax term of both gradients.

    Args:
        hidden: `[N, D]`.
        head: the head in the dtype of the matmuls, `[V, D]`.
        results: statistics or losses of all tokens, filled in place.
        grad_hidden: `[N, D]`, filled in place; None where it is not needed.
        grad_weight: `[V, D]`, this thread's, added to in place; None where it is not needed.
    """
    size, tokens = _chunking(head), slice(0, share.stop - share.start)
    hidden, targets = hidden[share], targets[share]
    wanted = None if isinstance(results, TokenStatistics) else _target_logits(hidden, head, targets)
    rows, sums = head.split(size.entries), () if grad_weight is None else grad_weight.split(size.entries)  # T × [v, D]
    for chunk in _parts(tokens, size.tokens):
        states, place = hidden[chunk], slice(share.start + chunk.start, share.start + chunk.stop)  # [n, D]
        tiles = ChunkStatistics(targets[chunk, None], len(head)) if wanted is None else ChunkLoss(wanted[chunk])
        means = buffers.take("means", head, len(states), len(rows) * hidden.shape[1]).view(len(states), len(rows), -1)
        kept = []  # T × [n, v]
        for own, mean, probabilities in zip(
            rows, means.unbind(1), _probabilities(states, head, tiles, buffers), strict=True
        ):
            kept.append(probabilities)
            if grad_hidden is not None:
                torch.mm(probabilities, own, out=mean)  # [n, D], mean head row under the tile's softmax
        found, portions = tiles.join()  # portions: each tile's share of the whole softmax, [n, T]
        _store(results, place, found)
        portions = portions.unsqueeze(2)  # [n, T, 1]
        if grad_hidden is not None:
            torch.sum(portions * means, 1, out=grad_hidden[place])
        if grad_weight is not None:
            weighted = (portions * states.unsqueeze(1)).to(head.dtype).unbind(1)  # T × [n, D]
            for total, probabilities, some in zip(sums, kept, weighted, strict=True):
                _add_matmul(total, probabilities.t(), some)


def _probabilities(
    states: Tensor, head: Tensor, tiles: ChunkLoss | ChunkStatistics, buffers: _Buffers
) -> Iterator[Tensor]:
    """Yield the softmax of each tile of a chunk, `[n, v]` in the head's dtype; valid until the next chunk.

    It is computed in the dtype of the states, `[n, D]`.
    """
    inputs, columns = states.to(head.dtype), head.t().split(_chunking(head).entries, 1)  # [n, D], T × [D, v]
    kept = buffers.take("chunk", head, len(inputs), len(head)).view(-1)  # [n · V], tile after tile
    spaces = kept.split([len(inputs) * part.shape[1] for part in columns])
    for part, space in zip(columns, spaces, strict=True):
        logits = torch.mm(inputs, part, out=space.view(len(inputs), -1))  # [n, v]
        if head.dtype == states.dtype:
            yield tiles.softmax(logits)
        else:
            yield logits.copy_(tiles.softmax(buffers.take("tile", states, *logits.shape).copy_(logits)))


def _target_logits(states: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Compute the logits of the targets, `[n]` to `[n, 1]`, rounded as the matmul rounds them."""
    pairs = states.to(head.dtype).to(states.dtype) * head[targets].to(states.dtype)  # [n, D]
    return pairs.sum(1, keepdim=True).to(head.dtype).to(states.dtype)


def _store(results: TokenStatistics | Tensor, chunk: slice, found: TokenStatistics | Tensor) -> None:
    """Write a chunk's results to its place; both are losses, or both are statistics."""
    if isinstance(results, TokenStatistics):
        assert isinstance(found, TokenStatistics)
        results.fill(chunk, found)
    else:
        assert isinstance(found, Tensor)
        results[chunk] = found


def _subtract_target_term(
    grad_hidden: Tensor | None,
    grad_weight: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
) -> None:
    """Subtract the target term of the cross-entropy's gradient from gradients that hold its softmax term."""
    if grad_hidden is not None:
        grad_hidden.sub_(weight[targets], alpha=1 - smoothing)
    if grad_weight is not None:
        _add_rows(grad_weight, targets, hidden * (smoothing - 1))
    if smoothing and grad_hidden is not None:
        grad_hidden.sub_(weight.mean(0), alpha=smoothing)
    if smoothing and grad_weight is not None:
        grad_weight.sub_(hidden.sum(0), alpha=smoothing / len(weight))


def _add_rows(total: Tensor, rows: Tensor, values: Tensor) -> None:
    """Deterministic scatter-add of rows that may repeat: `index_add_` on CPU, `index_put_` elsewhere."""
    if total.device.type == "cpu":
        total.index_add_(0, rows, values)
    else:
        total.index_put_((rows,), values, accumulate=True)


def _add_matmul(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left @ right` to a sum that may have a more exact dtype."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(torch.mm(left, right))


def _shares(hidden: Tensor) -> list[tuple[slice, _Buffers]]:
    """Split the tokens into one share per thread, each with buffers that belong to the calling thread."""
    found = shares(len(hidden), chunks.LEAST_SHARE, hidden.device)
    _kept.buffers.extend(_Buffers() for _ in range(len(found) - len(_kept.buffers)))
    return list(zip(found, _kept.buffers, strict=False))


def _parts(whole: slice, size: int) -> list[slice]:
    return [slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size)]


def _chunking(head: Tensor) -> chunks.Chunking:
    return chunks.chunking(head.device.type == "cpu", len(head))
