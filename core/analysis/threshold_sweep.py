"""Sweep over many sets of thresholds: exit shares and excess loss of all of them in one pass over the tokens.

One number, the exit rate, sets the thresholds of all exits: at each, that share of the active tokens exits. As the rate
rises no threshold rises, so a token never exits at a later block. For each exit a token therefore counts for one range
of candidates: from the first at which it exits there to the first at which an earlier exit takes it. Entering the two
ends and taking running sums gives all candidates at once.

Shapes: K blocks, E exits, N tokens, J candidates (sets of thresholds) from the fewest exits to the most, U units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.token_table import Floats, Integers, TokenTable
from core.pricing.thresholds import quantile_thresholds

GRID_TOKENS = 32_768
"""Largest number of tokens that a grid of thresholds is made from; they set its points, not the results there."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Results of each candidate in each unit: a window, several windows, or all tokens.

    Attributes:
        thresholds: thresholds of each candidate, `[J, E]`.
        excess: mean loss above that of all blocks without exit, nats, `[U, J]`.
        shares: share of the unit's tokens that leaves at each block, `[U, J, K]`.
    """

    thresholds: Floats
    excess: Floats
    shares: Floats


def threshold_grid(signal: Floats, rates: Sequence[float] | Floats) -> Floats:
    """Return the thresholds of all exits at each of the rising exit rates, no column rising, `[J, E]`."""
    some = signal[:, :: max(1, signal.shape[1] // GRID_TOKENS)]  # every few tokens, [E, n]
    rows = [quantile_thresholds(some, float(rate)) for rate in rates]
    return np.minimum.accumulate(np.array(rows, np.float64).reshape(len(rows), len(signal)), axis=0)


def sweep(table: TokenTable, thresholds: Floats, unit_tokens: int | None = None) -> Sweep:
    """Evaluate all candidates on all tokens: a token leaves at the first block whose signal reaches its threshold.

    It takes `O(K · N · log J)` operations.

    Args:
        thresholds: thresholds of each candidate, `[J, E]`; no column may rise.
        unit_tokens: consecutive tokens of a unit; a remainder at the end is not used. None: all tokens are one unit.

    Raises:
        ValueError: a threshold rises from one candidate to the next.
    """
    if (np.diff(thresholds, axis=0) > 0).any():
        raise ValueError("candidates go from the fewest exits to the most: no threshold may rise")
    size = unit_tokens or table.tokens
    units, candidates = table.tokens // size, len(thresholds)
    used = units * size
    row = np.repeat(np.arange(units) * (candidates + 1), size)  # first bin of each token's unit, [used]
    excess = np.zeros((units, candidates))  # [U, J]
    shares = np.zeros((units, candidates, table.blocks))  # [U, J, K]
    taken = np.full(used, candidates)  # first candidate at which an earlier exit takes the token, [used]
    for block in range(table.exits):
        # First candidate at which the token exits here, [used].
        leaves = np.searchsorted(-thresholds[:, block], -table.signal[block, :used].astype(np.float64))
        leaves = np.minimum(leaves, taken)
        excess += _running(row, leaves, taken, (units, candidates), table.excess(block)[:used])
        shares[:, :, block] = _running(row, leaves, taken, (units, candidates))
        taken = leaves
    shares[:, :, -1] = size - shares[:, :, :-1].sum(axis=2)
    return Sweep(thresholds, excess / size, shares / size)


def _running(
    row: Integers, first: Integers, end: Integers, shape: tuple[int, int], weights: Floats | None = None
) -> Floats:
    """Sum, for each candidate, the weights of the tokens with the candidate in `[first, end)`, `[U, J]`.

    Args:
        row: first bin of each token's unit, `[N]`.
        first, end: range of candidates of each token, `[N]`.
        shape: U and J.
        weights: weight of each token, `[N]`; None: 1.
    """
    units, candidates = shape
    bins = units * (candidates + 1)
    change = np.bincount(row + first, weights, bins) - np.bincount(row + end, weights, bins)  # [U · (J + 1)]
    sums: Floats = np.cumsum(change.reshape(units, candidates + 1), axis=1)[:, :candidates]
    return sums
