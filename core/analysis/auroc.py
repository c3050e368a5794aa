"""Ranking quality of a signal: the area under the receiver operating characteristic."""

import numpy as np

from core.analysis.token_table import Booleans, Floats


def midranks(values: Floats) -> Floats:
    """Rank values `[N]` from 1, ties by their mean rank, `[N]`; one sort serves any number of labels."""
    order = np.argsort(values)  # [N]
    ordered = values[order]  # [N]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))  # of each group of ties
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))  # [N]
    ranks[order] = np.repeat(starts + (counts + 1) / 2, counts)
    return ranks


def auroc(ranks: Floats, positive: Booleans) -> float | None:
    """Return the probability that a positive token has a higher signal than a negative one, with ties as one half.

    It is the Wilcoxon statistic: `(sum of the positives' midranks − P(P + 1)/2) / (P·N)` (Hanley and McNeil 1982, "The
    meaning and use of the area under a receiver operating characteristic curve").

    Args:
        ranks: `midranks` of the signal, `[N]`.
        positive: bool `[N]`.

    Returns:
        The area; None if all tokens are positive or all are negative.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    total = float(ranks[positive].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)
