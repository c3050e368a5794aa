"""Paired bootstrap over evaluation windows (Efron and Tibshirani 1993, ch. 13; blocks after Künsch 1989)."""

import random
from collections.abc import Sequence

RESAMPLES = 1000
BLOCK_WINDOWS = 32
"""Windows resampled together: neighbouring windows of a text are alike, so they are not independent draws."""


def paired_difference(
    first: Sequence[float], second: Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of `first − second` over windows with its percentile bootstrap interval: (low, mean, high).

    Args:
        first, second: mean losses in nats of the same windows in the same order.

    Raises:
        ValueError: they have different lengths, or are empty.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"paired windows are needed, got {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    blocks = [differences[at : at + BLOCK_WINDOWS] for at in range(0, len(differences), BLOCK_WINDOWS)]
    totals = [(sum(block), len(block)) for block in blocks]
    draw = random.Random(0)
    means = []
    for _ in range(RESAMPLES):
        sample = draw.choices(totals, k=len(totals))
        means.append(sum(total for total, _ in sample) / sum(count for _, count in sample))
    means.sort()
    tail = round((1 - level) / 2 * RESAMPLES)
    return means[tail], sum(differences) / len(differences), means[-1 - tail]
