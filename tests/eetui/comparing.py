"""Runs to compare, made up from a few figures."""

import math
import random

from core.intervals import Interval
from core.metrics import FINAL, FINAL_PPL, TIME_SAVINGS, TRAINING, WAYS, way_bits, way_ppl
from eetui.compare.run_view import RunView

BLOCKS = (0, 1)
METRICS = {
    metric.key: metric
    for metric in (
        *FINAL,
        *(
            kind(way, block)
            for kind in (way_ppl, way_bits)
            for way in WAYS
            for block in (BLOCKS if way in ("as trained", "alone") else (None,))
        ),
        *(row.at(block) for block in (None, *BLOCKS) for row in TRAINING),
    )
}
"""Those that a run of two blocks may have, by their keys."""


def run(name: str, seed: int = 1, loss: float | None = None, noise: float = 0.0, **figures: float) -> RunView:
    """A finished run; its method is what its name begins with.

    Args:
        loss: loss of each window of early exit; None: that of its PPL.
        noise: standard deviation of every figure of the final table over windows.
    """
    method, draw = name.partition("-")[0], random.Random(f"{name} {seed}")
    metrics = {METRICS[key]: value for key, value in figures.items()}
    means = {metric: math.log(value) if metric.unit == "ppl" else value for metric, value in metrics.items()}
    means |= {} if loss is None else {FINAL_PPL: loss}
    measured = [metric for metric in means if metric.table == "final" and metric != TIME_SAVINGS]
    return RunView(
        name=name,
        method=method,
        seed=seed,
        status="finished",
        fingerprint="one",
        corpus="one text",
        config={"method": method, "seed": seed, "train.lr": 0.1, "model.block_layers": (2, 2)},
        metrics=metrics,
        intervals={m: Interval(v - 0.01, v, v + 0.01, "rounds") for m, v in metrics.items() if m == TIME_SAVINGS},
        windows={metric: [means[metric] + draw.gauss(0, noise) for _ in range(64)] for metric in measured},
    )
