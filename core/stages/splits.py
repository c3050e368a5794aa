"""Which of a run's training windows are trained on, stop the training early, or are held out for calibration."""

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
    """Something of the windows that blocks train on and, where some are held out for calibration, of those."""

    train: Part
    heldout: Part | None = None

    @property
    def calibration(self) -> Part:
        """That of the windows which exit classifiers are fitted and thresholds are set on."""
        return self.train if self.heldout is None else self.heldout

    def map(self, made_of: Callable[[Part], Other]) -> "Splits[Other]":
        """What a function makes of each."""
        return Splits(made_of(self.train), None if self.heldout is None else made_of(self.heldout))


def calibration_split(config: RunConfig) -> Split:
    """The name of the windows which exit classifiers are fitted and thresholds are set on."""
    return "calibration" if config.exit.calibration == "heldout" else "train"


def split_windows(windows: int, config: RunConfig, stage: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """A stage's windows as (training, early-stopping) indices; both get at least one.

    Random windows, or the tail, so that no training window lies beside an early-stopping one.
    """
    held_out = early_stopping_windows(windows, config)
    if config.train.split == "contiguous":
        order = torch.arange(windows, device=device)
        return order[:-held_out], order[-held_out:]
    shuffled = torch.randperm(windows, generator=stream(config.seed, stage, "split"))
    return shuffled[held_out:].sort().values.to(device), shuffled[:held_out].sort().values.to(device)
