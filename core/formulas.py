"""Formulas of the reported figures, on plain numbers."""

import math
from collections.abc import Iterable


def perplexity(loss: float) -> float:
    """Return exp of the mean cross-entropy in nats; infinite where it is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf


def share_of_layers_saved(exit_shares: Iterable[float], block_layers: tuple[int, ...]) -> float:
    """Return 1 − layers run ÷ layers of the full model, from the share of the tokens that exits at each block."""
    total = sum(block_layers)
    run = sum(share * sum(block_layers[: block + 1]) for block, share in enumerate(exit_shares))
    return 1 - run / total
