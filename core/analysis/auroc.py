"""How well a signal ranks tokens: the area under the receiver operating characteristic."""

import numpy as np

from core.analysis.token_table import Booleans, Floats


def midranks(values: Floats) -> Floats:
    """Ranks from 1, the mean rank for each group of ties, `[N]`; sort once, then try any number of labels."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (counts + 1) / 2, counts)
    return ranks


def auroc(ranks: Floats, positive: Booleans) -> float | None:
    """Probability that a positive token has a higher signal than a negative one, a tie counting as half.

    The Wilcoxon statistic: `(sum of the positives' midranks − P(P + 1)/2) / (P·N)` (Hanley and McNeil 1982, "The
    meaning and use of the area under a receiver operating characteristic curve").

    Args:
        ranks: `midranks` of the signal, `[N]`.
        positive: bool `[N]`.

    Returns:
        None where all tokens are of one kind.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    total = float(ranks[positive].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)
