"""Per-token statistics of a block's predictions.

Shapes: N tokens, V vocabulary size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

Extras = frozenset[str]
"""Names of the statistics that cost extra and are made only when asked for: `margin`, `entropy`."""


NO_EXTRAS: Extras = frozenset()


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
        chosen = {name: None if column is None else column[tokens] for name, column in self.columns()}
        return TokenStatistics(**chosen)  # type: ignore[arg-type]  # the usual ones are never None

    def fill(self, tokens: slice, statistics: "TokenStatistics") -> None:
        """Note the statistics of these tokens."""
        for name, column in self.columns():
            if column is not None:
                column[tokens] = getattr(statistics, name)

    def columns(self) -> Iterator[tuple[str, Tensor | None]]:
        """Each statistic by its name."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

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


def mean64(values: Tensor) -> float:
    """Mean in float64, on the CPU: not every device has that type."""
    return float(values.cpu().double().mean())
