"""Thresholds of exits, and the tokens that leave at them.

Shapes: K blocks, E exits (K - 1), N tokens.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Scalar = TypeVar("Scalar", bound=np.generic)
NEVER = 2.0
"""Threshold that no signal in [0, 1] reaches: the exit is off, and its signal is not even computed."""


def is_on(threshold: float) -> bool:
    """Whether some signal in [0, 1] reaches a threshold."""
    return threshold <= 1


def exits_off(thresholds: Sequence[float]) -> frozenset[int]:
    """Return the blocks whose exit no signal reaches."""
    return frozenset(block for block, threshold in enumerate(thresholds) if not is_on(threshold))


def left_at(signal: Floats, thresholds: Sequence[float] | Floats) -> Integers:
    """Return the block that each token leaves at, the first whose signal reaches its threshold, else E; int16 `[N]`.

    Thresholds are compared in the signal's dtype, as in the model.

    Args:
        signal: exit signals, `[E, N]`.
    """
    blocks = np.full(signal.shape[1], len(signal), np.int16)
    for block in reversed(range(len(thresholds))):
        blocks = np.where(signal[block] >= signal.dtype.type(thresholds[block]), np.int16(block), blocks)
    return blocks


def where_left(values: NDArray[Scalar], left_at: Integers) -> NDArray[Scalar]:
    """Return each token's value at the block it leaves at: `[K, N]` to `[N]`."""
    if len(values) == 2:
        either: NDArray[Scalar] = np.where(left_at == 0, values[0], values[1])  # faster
        return either
    there: NDArray[Scalar] = np.take_along_axis(values, left_at[None], axis=0)[0]
    return there


def rate_threshold(signal: Floats, rate: float) -> float | None:
    """Return the threshold that this share of the signals `[n]` reaches, more if they tie; None if none does."""
    below = len(signal) - round(rate * len(signal))
    return float(np.partition(signal, below)[below]) if below < len(signal) else None


def quantile_thresholds(signal: Floats, rates: float | Sequence[float]) -> tuple[float, ...]:
    """Return the thresholds at which that share of the tokens arriving at each exit leaves; more if signals tie.

    Args:
        signal: exit signals, `[E, N]`.
        rates: exit rate of all exits, or of each, in [0, 1]; 0: the threshold is `NEVER`.

    Raises:
        ValueError: a rate is out of range.
    """
    each = [rates] * len(signal) if isinstance(rates, (int, float)) else list(rates)
    if not all(0 <= rate <= 1 for rate in each):
        raise ValueError(f"an exit rate lies between 0 and 1, got {rates}")
    thresholds = list[float]()
    for rate in each:
        found = rate_threshold(signal[0], rate)
        thresholds.append(NEVER if found is None else found)
        signal = signal[1:, signal[0] < thresholds[-1]]
    return tuple(thresholds)


def exit_rates(signal: Floats, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return the share of the tokens arriving at each exit that leaves there; 0 where none arrives."""
    blocks = left_at(signal, thresholds)
    arriving = [int((blocks >= block).sum()) for block in range(len(thresholds))]
    return tuple(float((blocks == block).sum()) / arrived if arrived else 0.0 for block, arrived in enumerate(arriving))
