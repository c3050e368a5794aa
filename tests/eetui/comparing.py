"""Runs to compare, made up from a few figures."""

from core.metrics import FINAL, TRAINING, WAYS, way_bits, way_ppl
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


def run(name: str, seed: int = 1, loss: float = 1.0, **figures: float) -> RunView:
    """A finished run; its method is what its name begins with, and each window has that loss."""
    method = name.partition("-")[0]
    return RunView(
        name=name,
        method=method,
        seed=seed,
        status="finished",
        fingerprint="one",
        corpus="one text",
        config={"method": method, "seed": seed, "train.lr": 0.1},
        metrics={METRICS[key]: value for key, value in figures.items()},
        window_losses=[loss] * 64,
    )
