"""Splits of a run's training windows: training, early stopping, and calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from core.config.derived import early_stopping_windows
from core.config.run_config import RunConfig
from core.events import Split
from core.rng import stream

Part = TypeVar("Part")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Splits(Generic[Part]):
    """One value for the windows that blocks train on and one for those held out for calibration, if there are any."""

    train: Part
    heldout: Part | None = None

    @property
    def calibration(self) -> Part:
        """Value for the windows that exit classifiers are fitted on and thresholds are set on."""
        return self.train if self.heldout is None else self.heldout

    def map(self, made_of: Callable[[Part], Other]) -> "Splits[Other]":
        """Apply a function to each value."""
        return Splits(made_of(self.train), None if self.heldout is None else made_of(self.heldout))


def calibration_split(config: RunConfig) -> Split:
    """Return the name of the split that exit classifiers are fitted on and thresholds are set on."""
    return "train" if config.exit.calibration == "train" else "calibration"


def split_windows(windows: int, config: RunConfig, stage: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Split a stage's windows into training and early-stopping indices, int64; each gets at least one window.

    The early-stopping windows are random ones or, with `train.split = "contiguous"`, the last ones.
    """
    held_out = early_stopping_windows(windows, config)
    if config.train.split == "contiguous":
        order = torch.arange(windows, device=device)  # [N]
        return order[:-held_out], order[-held_out:]
    shuffled = torch.randperm(windows, generator=stream(config.seed, stage, "split"))  # [N]
    return shuffled[held_out:].sort().values.to(device), shuffled[:held_out].sort().values.to(device)
