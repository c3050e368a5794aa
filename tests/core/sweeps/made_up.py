"""Runs of a sweep, made up from a few figures, as `core.store.stored_sweeps.cells_of` has them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.store.stored_sweeps import FIGURES
from core.sweeps.combinations import Combination, combinations

Figures = Mapping[str, float] | None


def cell(
    number: int, point: int, setting: Mapping[str, Any], seed: int, figures: Figures, **more: Any
) -> dict[str, Any]:
    """Return a run, finished with those figures, or running without any."""
    return {
        "id": number, "name": f"run-{number}", "point": point, "setting": setting, "method": "loss", "seed": seed,
        "status": "running" if figures is None else "finished", "error": None, "seconds": 1.0,
        **dict.fromkeys(FIGURES), **(figures or {}), **more,
    }  # fmt: skip


def grid(
    axes: Mapping[str, Sequence[Any]], seeds: int, figures: Callable[[Mapping[str, Any], int], Figures]
) -> list[Combination]:
    """Return the combinations of a grid; `figures` gives those of a setting and a seed."""
    cells = []
    for point, values in enumerate(itertools.product(*axes.values())):
        setting = dict(zip(axes, values, strict=True))
        for seed in range(seeds):
            cells.append(cell(len(cells) + 1, point, setting, seed, figures(setting, seed)))
    return combinations(cells)
