"""The static line: the lowest mean loss of fixed depths, and of mixtures of two of them by coin toss, at given savings.

It is what early exit has to beat, because it needs no signal and no training. Plain Python, for lists and comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

A_HAIR = 0.02
"""Share of the layers by which a fixed depth may save less than early exit and still be held against it."""
TOLERANCE = 1e-9
"""Difference in share of savings up to which two values are the same."""


@dataclass(frozen=True)
class Mixture:
    """A fixed depth, or two of which each token takes one at random.

    Attributes:
        weights: share of the tokens at each fixed depth, `[K]`.
        loss: its mean loss, nats.
    """

    weights: tuple[float, ...]
    loss: float

    @property
    def main(self) -> int:
        """Fixed depth that most tokens take."""
        return max(range(len(self.weights)), key=self.weights.__getitem__)

    def of_windows(self, windows: Sequence[Sequence[float]]) -> list[float]:
        """Return the loss of each window from those of each fixed depth: `[K, W]` to `[W]`."""
        used = [(weight, losses) for weight, losses in zip(self.weights, windows, strict=True) if weight]
        return [
            sum(weight * loss for (weight, _), loss in zip(used, window, strict=True))
            for window in zip(*(losses for _, losses in used), strict=True)
        ]


def static_mixture(savings: Sequence[float], losses: Sequence[float], at: float) -> Mixture:
    """Return the mixture of lowest mean loss that saves at least as much; beyond all, the depth that saves most.

    Args:
        savings, losses: savings and mean loss of each fixed depth, `[K]`.
        at: savings to match.
    """
    asked = min(at, max(savings))
    depths = range(len(savings))
    found = [_mixture({depth: 1.0}, losses) for depth in depths if savings[depth] >= asked - TOLERANCE]
    for less in depths:
        for more in depths:
            if savings[less] < asked - TOLERANCE and asked <= savings[more]:
                share = (asked - savings[less]) / (savings[more] - savings[less])
                found.append(_mixture({less: 1 - share, more: share}, losses))
    return min(found, key=lambda mixture: mixture.loss)


def _mixture(shares: dict[int, float], losses: Sequence[float]) -> Mixture:
    weights = tuple(shares.get(depth, 0.0) for depth in range(len(losses)))
    return Mixture(weights, sum(weight * loss for weight, loss in zip(weights, losses, strict=True) if weight))
