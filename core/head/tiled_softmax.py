"""Softmax of a chunk of tokens, one tile of the vocabulary after the other, while the tile is in the cache.

Each tile is a softmax of its own: its probabilities add up to 1, and it keeps its largest logit m and its total
Σ exp(logit − m). Once all tiles are done, each tile's portion of the whole softmax follows from these, and with it
everything else (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"). A probability is a tile's
probability times the tile's portion.

Shapes: n tokens of a chunk, V vocabulary size, v vocabulary entries of a tile, T tiles.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.head.token_statistics import NO_EXTRAS, Extras, TokenStatistics

BLOCK_ENTRIES = 64
"""Vocabulary entries of which the largest logit is found at once."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Figures of one tile for each token, all `[n, 1]`.

    Attributes:
        largest, best: the largest logit, and the first of all V entries that has it.
        total: Σ exp(logit − largest).
        target: the target's logit; −∞ where the target is in another tile.
        second: the second largest logit; an extra, for the margin.
        entropy: entropy of the tile's own probabilities, in nats; an extra.
    """

    largest: Tensor
    best: Tensor
    total: Tensor
    target: Tensor
    second: Tensor | None
    entropy: Tensor | None


class ChunkLoss:
    """Softmax of a chunk's tiles that keeps only what a loss needs.

    Args:
        target_logits: logits of the targets, `[n, 1]`, which may round differently from the tiles' logits.
    """

    def __init__(self, target_logits: Tensor) -> None:
        self._target_logits = target_logits
        self._largest: list[Tensor] = []
        self._totals: list[Tensor] = []

    def softmax(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the next tile, `[n, v]`, in place where that is safe."""
        self._largest.append(logits.amax(1, keepdim=True))
        probabilities = _softmax(logits)
        self._totals.append(probabilities.amax(1, keepdim=True).reciprocal_())
        return probabilities

    def join(self) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of each token, `[n]`, and each tile's portion of its softmax, `[n, T]`."""
        tops = torch.cat(self._largest, 1)  # [n, T]
        largest = tops.amax(1, keepdim=True)
        total, portions = _normalise(tops, self._totals, largest)
        return (largest - self._target_logits + total.log()).squeeze(1).clamp_(min=0), portions


class ChunkStatistics:
    """Softmax of a chunk's tiles that keeps all that `TokenStatistics` are made of.

    Args:
        targets: vocabulary indices, int64 `[n, 1]`.
    """

    def __init__(self, targets: Tensor, vocab_size: int, extras: Extras = NO_EXTRAS) -> None:
        self._targets, self._vocab_size, self._extras = targets, vocab_size, extras
        self._tiles: list[Tile] = []
        self._seen = 0

    def softmax(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the next tile, `[n, v]`, in place where that is safe."""
        best = _first_of_the_largest(logits)
        largest, target = logits.gather(1, best), _target_logit(logits, self._targets - self._seen)
        second = entropy = None
        if "margin" in self._extras:
            second = logits.scatter_(1, best, -math.inf).amax(1, keepdim=True)
            logits.scatter_(1, best, largest)
        probabilities = _softmax(logits)
        if "entropy" in self._extras:
            entropy = torch.special.entr(probabilities).sum(1, keepdim=True)
        total = probabilities.gather(1, best).reciprocal_()
        self._tiles.append(Tile(largest, best.add_(self._seen), total, target, second, entropy))
        self._seen += logits.shape[1]
        return probabilities

    def join(self) -> tuple[TokenStatistics, Tensor]:
        """Return the statistics of the tokens, and each tile's portion of their softmax, `[n, T]`.

        The entropy of the whole softmax is that of the portions plus each tile's own times its portion.
        """
        tiles = self._tiles
        tops = _columns([tile.largest for tile in tiles])  # [n, T]
        winner = tops.argmax(1, keepdim=True)  # [n, 1], the tile of the largest logit
        largest = tops.gather(1, winner)
        total, portions = _normalise(tops, [tile.total for tile in tiles], largest)
        target = _columns([tile.target for tile in tiles]).amax(1, keepdim=True)
        prediction = _columns([tile.best for tile in tiles]).gather(1, winner)
        margin = entropy = None
        if "margin" in self._extras:
            second = _columns([tile.second for tile in tiles]).gather(1, winner)
            margin = (1 - (tops.scatter(1, winner, second).amax(1, keepdim=True) - largest).exp()) / total
        if "entropy" in self._extras:
            within = portions * _columns([tile.entropy for tile in tiles])
            entropy = (within + torch.special.entr(portions)).sum(1) / math.log(self._vocab_size)
        statistics = TokenStatistics(
            cross_entropy=(largest - target + total.log()).squeeze(1),
            max_prob=total.reciprocal().squeeze(1),
            correct=(prediction == self._targets).squeeze(1),
            prediction=prediction.squeeze(1),
            margin=None if margin is None else margin.squeeze(1),
            entropy=entropy,
        )
        return statistics, portions


def _softmax(logits: Tensor) -> Tensor:
    """Softmax of each row, in place on the CPU; the largest probability of a row is 1 / total.

    The CPU's softmax kernel goes through a row three times, in a quarter of the time that `exp_` alone takes.
    """
    return torch.softmax(logits, 1, out=logits if logits.device.type == "cpu" else None)


def _normalise(tops: Tensor, totals: Sequence[Tensor], largest: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ exp(logit − largest) over the vocabulary, `[n, 1]`, and each tile's portion of it, `[n, T]`."""
    found = torch.cat(list(totals), 1) * (tops - largest).exp()  # [n, T]
    total = found.sum(1, keepdim=True)
    return total, found / total


def _columns(columns: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([column for column in columns if column is not None], 1)


def _target_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logit of the target, `[n, 1]`; −∞ where it lies in another tile."""
    elsewhere = (targets < 0) | (targets >= logits.shape[1])
    return logits.gather(1, targets.masked_fill(elsewhere, 0)).masked_fill_(elsewhere, -math.inf)


def _first_of_the_largest(logits: Tensor) -> Tensor:
    """Return `argmax(1, keepdim=True)`, `[n, 1]`: the first best block by `amax`, which is far faster, then its best.

    The last block may overlap the one before it; it is the best only if no earlier block has the largest logit.
    """
    entries = logits.shape[1]
    width = min(BLOCK_ENTRIES, entries)
    blocks = entries // width
    tops = logits[:, : blocks * width].unflatten(1, (blocks, width)).amax(2)  # [n, blocks]
    if entries % width:
        tops = torch.cat((tops, logits[:, -width:].amax(1, keepdim=True)), 1)
    start = (tops.argmax(1) * width).clamp_(max=entries - width)
    block = logits.unfold(1, width, 1)[torch.arange(len(logits), device=logits.device), start]  # [n, width]
    first: Tensor = (start + block.argmax(1)).unsqueeze(1)
    return first
