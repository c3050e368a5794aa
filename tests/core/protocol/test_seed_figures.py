"""The seed protocol gives the recorded figures: losses, thresholds and exits.

`seed_figures.json` was written by the code of 2026-11-24 in float64, where the rounding of another machine stays far
below the tolerance and changes no token's exit.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Epoch, Event, Measured, Threshold
from core.protocol.train import train

FIGURES: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("seed_figures.json").read_text())
CASES: dict[str, dict[str, Any]] = {
    "loss": {"method": "loss"},
    "softmax, three blocks": {"method": "softmax", "block_layers": (1, 2, 1)},
    "distill, fitted along": {"method": "distill", "exit_classifier_mode": "joint"},
    "correct, no last exit": {"method": "correct", "block_layers": (2, 1), "last_exit": False, "hard_ratio": 0.3},
}


def figures(event: Event) -> list[Any] | None:
    match event:
        case Epoch():
            return [event.stage, event.loss, event.val_loss, event.exit_loss, event.avg_label]
        case Threshold():
            return [event.stage, event.threshold, event.tokens, event.hard_tokens]
        case Measured():
            return [event.name, event.loss, event.accuracy, *event.exit_shares]
    return None


@pytest.mark.parametrize("name", CASES)
def test_the_seed_protocol_gives_the_figures_it_always_gave(
    name: str, tiny_config: Callable[..., RunConfig], tiny_dataset: Dataset
) -> None:
    config = tiny_config(dtype="float64", **CASES[name])
    found = [row for event in train(config, tiny_dataset) if (row := figures(event)) is not None]
    assert len(found) == len(FIGURES[name])
    for row, expected in zip(found, FIGURES[name], strict=True):
        assert row == pytest.approx(expected, rel=1e-9)  # names and None strictly
