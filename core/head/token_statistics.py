"""Per-token statistics of a block's predictions.

Shapes: N tokens, V vocabulary size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

Extras = frozenset[str]
"""Names of statistics that cost extra and are computed only on request: `margin`, `entropy`."""


NO_EXTRAS: Extras = frozenset()
ALL_EXTRAS: Extras = frozenset({"margin", "entropy"})


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """Statistics of a block's prediction for each token.

    Attributes:
        cross_entropy: −log p(target) in nats, `[N]`.
        max_prob: the largest probability, `[N]`.
        correct: whether the most probable token is the target, bool `[N]`.
        prediction: vocabulary index of the most probable token, int64 `[N]`.
        margin: the largest probability minus the second largest, `[N]`; an extra, None where it was not requested.
        entropy: entropy of the probabilities as a share of its largest value, log V, `[N]`; an extra.
    """

    cross_entropy: Tensor
    max_prob: Tensor
    correct: Tensor
    prediction: Tensor
    margin: Tensor | None = None
    entropy: Tensor | None = None

    def __getitem__(self, tokens: Tensor) -> "TokenStatistics":
        """Select the statistics of some tokens, by index or mask."""
        chosen = {name: None if column is None else column[tokens] for name, column in self.columns()}
        return TokenStatistics(**chosen)  # type: ignore[arg-type]  # the usual ones are never None

    def fill(self, tokens: slice, statistics: "TokenStatistics") -> None:
        """Write the statistics of some tokens to their places."""
        for name, column in self.columns():
            if column is not None:
                column[tokens] = getattr(statistics, name)

    def columns(self) -> Iterator[tuple[str, Tensor | None]]:
        """Iterate over names and columns; None for an extra that was not requested."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    @staticmethod
    def empty(tokens: int, like: Tensor, extras: Extras = NO_EXTRAS) -> "TokenStatistics":
        """Return unfilled statistics for `tokens` tokens, with the dtype and device of `like`."""
        return TokenStatistics(
            cross_entropy=like.new_empty(tokens),
            max_prob=like.new_empty(tokens),
            correct=like.new_empty(tokens, dtype=torch.bool),
            prediction=like.new_empty(tokens, dtype=torch.int64),
            **{name: like.new_empty(tokens) for name in extras},
        )


def mean64(values: Tensor) -> float:
    """Mean in float64, on the CPU: not every device has that dtype."""
    return float(values.cpu().double().mean())
