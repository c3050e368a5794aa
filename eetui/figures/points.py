"""Perplexities as points: their place on an axis of nats, and their deviations around it."""

import math

from core.metrics import Value

LEAST = 1e-9


def nats_of(ppl: Value) -> float:
    """Return the loss in nats of a mean PPL; NaN where it is not finite, which is not drawn."""
    return math.log(ppl.mean) if 0 < ppl.mean < math.inf else math.nan


def nats_around(ppl: Value) -> list[list[float]] | None:
    """Return how far a PPL's deviation reaches below and above its loss in nats; None without one."""
    if ppl.deviation is None or not 0 < ppl.mean < math.inf:
        return None
    middle = math.log(ppl.mean)
    return [
        [middle - math.log(max(ppl.mean - ppl.deviation, LEAST))],
        [math.log(ppl.mean + ppl.deviation) - middle],
    ]
