"""Reliability diagrams and the calibration error: whether what a number claims comes true."""

from dataclasses import dataclass

import numpy as np

from core.analysis.token_table import Booleans, Floats, Integers

GROUPS = 10
"""Groups of equally many tokens, in every diagram and every error."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: mean claimed against mean found, for each group of tokens (`[B]` each)."""

    counts: Integers
    claimed: Floats
    found: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean gap over tokens, `Σ n_b/N · |found − claimed|` (Guo et al. 2017, eq. 3)."""
        return float(np.abs(self.found - self.claimed) @ self.counts / self.counts.sum())

    @property
    def bias(self) -> float:
        """Mean claimed minus mean found: above 0 it claims too much."""
        return float((self.claimed - self.found) @ self.counts / self.counts.sum())


def reliability(claimed: Floats, found: Floats | Booleans, groups: int = GROUPS) -> Reliability:
    """Group tokens by what is claimed of them, and compare with what is found ("On Calibration of Modern Neural
    Networks", Guo et al. 2017, section 2), in groups of equally many tokens (Nguyen and O'Connor 2015).

    Args:
        claimed: any numbers, `[N]`.
        found: 1 or true where it came true, or itself a number of the same kind, `[N]`.
        groups: most groups; no tie is split.
    """
    which = _group_of(claimed, groups)
    counts = np.bincount(which, minlength=groups)
    held = counts > 0
    sums = [np.bincount(which, values, groups)[held] for values in (claimed, found)]
    return Reliability(counts[held], sums[0] / counts[held], sums[1] / counts[held])


def _group_of(values: Floats, groups: int) -> Integers:
    """Return the group of each value, cut at the quantiles."""
    places = np.arange(1, groups) * len(values) // groups
    edges = np.partition(values, places)[places]
    which: Integers = np.searchsorted(np.unique(edges), values, side="right")
    return which
