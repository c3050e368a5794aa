"""Savings of tokens that leave at known blocks, as the evaluation counts them (`core.evaluation.passes`).

Keys and values of a token that left count only where a later token attends to them.

Shapes: K blocks, N tokens in windows of T.
"""

import numpy as np

from core.analysis.token_table import Integers
from core.costs import ExitCosts
from core.formulas import share_of_layers_saved


def realised_savings(left_at: Integers, seq_len: int, cost: ExitCosts) -> tuple[float, float]:
    """Return the shares of the layers and of the FLOPs that are saved.

    Args:
        left_at: block that each token leaves at, `[N]`.
        seq_len: tokens of a window, T.
    """
    layers, blocks = cost.model.block_layers, range(len(cost.model.block_layers))
    needed = needed_to(left_at, seq_len, causal=cost.model.causal)
    shares = [float((left_at == block).mean()) for block in blocks]
    ran = [float((needed == block).mean()) for block in blocks] if cost.exited_state == "deferred" else shares
    saved = share_of_layers_saved(ran, layers)
    if cost.exited_state == "input":
        return saved, float(np.dot(shares, cost.savings_if_attended))
    attended = [float(((left_at < block) & (needed >= block)).mean()) for block in blocks]
    return saved, cost.savings(shares, attended)


def needed_to(left_at: Integers, seq_len: int, *, causal: bool) -> Integers:
    """Return the last block that a token, or one of its window that attends to it, runs through, `[N]`."""
    windows = left_at.reshape(-1, seq_len)
    if not causal:
        return np.repeat(windows.max(axis=1), seq_len)
    found: Integers = np.maximum.accumulate(windows[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    return found
