"""Many thresholds at once: where tokens leave and what it costs them, in one pass over the tokens for all of them.

One number, the exit rate, stands for the thresholds of all exits: at each, that share of the tokens still in leaves.
As it rises no threshold rises, so a token never leaves later than it did; each token is therefore entered where it
begins to leave at an exit and where an earlier one takes it away, and running sums give the rest.

Shapes: K blocks, E exits, N tokens, J candidates (sets of thresholds) from the fewest exits to the most, U units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.token_table import Floats, Integers, TokenTable

NEVER = 2.0
"""A threshold that no signal in [0, 1] reaches."""
GRID_TOKENS = 32_768
"""Most tokens that a grid of thresholds is made from; they decide where its points lie, not what is found there."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """What comes of each candidate in each unit: a window, several, or all tokens.

    Attributes:
        thresholds: `[J, E]`.
        excess: mean loss over that of all blocks without exit, nats, `[U, J]`.
        shares: share of the unit's tokens that leaves at each block, `[U, J, K]`.
    """

    thresholds: Floats
    excess: Floats
    shares: Floats


def quantile_thresholds(signal: Floats, rate: float) -> tuple[float, ...]:
    """The thresholds at which that share of the tokens that arrive at each exit leaves there; more where signals tie.

    Args:
        signal: `[E, N]`.
        rate: between 0 (never: the thresholds are `NEVER`) and 1.

    Raises:
        ValueError: the rate is no share.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"an exit rate lies between 0 and 1, got {rate}")
    thresholds = []
    while len(signal):
        found = rate_threshold(signal[0], rate)
        thresholds.append(NEVER if found is None else found)
        signal = signal[1:, signal[0] < thresholds[-1]]
    return tuple(thresholds)


def rate_threshold(signal: Floats, rate: float) -> float | None:
    """The threshold that this share of the signals `[n]` reaches, more where they tie; None where none would."""
    below = len(signal) - round(rate * len(signal))
    return float(np.partition(signal, below)[below]) if below < len(signal) else None


def threshold_grid(signal: Floats, rates: Sequence[float] | Floats) -> Floats:
    """The thresholds of all exits at each of the rising exit rates, none of them rising, `[J, E]`."""
    some = signal[:, :: max(1, signal.shape[1] // GRID_TOKENS)]
    rows = [quantile_thresholds(some, float(rate)) for rate in rates]
    return np.minimum.accumulate(np.array(rows, np.float64).reshape(len(rows), len(signal)), axis=0)


def sweep(table: TokenTable, thresholds: Floats, unit_tokens: int | None = None) -> Sweep:
    """Try all candidates on all tokens: a token leaves at the first block whose signal reaches its threshold.

    Takes `O(K · N · log J)`.

    Args:
        thresholds: `[J, E]`; no column may rise.
        unit_tokens: consecutive tokens of a unit; those left over at the end are not used. None: all tokens are one.

    Raises:
        ValueError: a threshold rises from one candidate to the next.
    """
    if (np.diff(thresholds, axis=0) > 0).any():
        raise ValueError("candidates go from the fewest exits to the most: no threshold may rise")
    size = unit_tokens or table.tokens
    units, candidates = table.tokens // size, len(thresholds)
    used = units * size
    row = np.repeat(np.arange(units) * (candidates + 1), size)
    excess = np.zeros((units, candidates))
    shares = np.zeros((units, candidates, table.blocks))
    taken = np.full(used, candidates)  # the candidate from which on an earlier exit takes the token
    for block in range(table.exits):
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
    """Sum of the weights (1 each, without) of the tokens for which a candidate lies in `[first, end)`, `[U, J]`."""
    units, candidates = shape
    bins = units * (candidates + 1)
    change = np.bincount(row + first, weights, bins) - np.bincount(row + end, weights, bins)
    sums: Floats = np.cumsum(change.reshape(units, candidates + 1), axis=1)[:, :candidates]
    return sums
