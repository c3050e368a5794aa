"""Helpers for tests of training: events by type, the result of a stage, figures without clocks."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Epoch, Event, Profiled, RunFinished, RunStarted, Savings, StageEnded, StageStarted, Step, Warned
from core.generators import drained
from core.model import Transformer
from core.protocol.checkpoint import load_model
from core.protocol.order import planned_stages
from core.protocol.train import train
from core.stages.trainer import Weights

MakeConfig = Callable[..., RunConfig]
DIM, WORDS, SEED = 8, 30, 42
"""Dimensions of `tiny_config` and `tiny_dataset`."""
SOUND = {
    "norm": "pre",
    "dropout": 0.2,
    "tie_embedding": True,
    "train_embedding": True,
    "head": "frozen",
    "split": "contiguous",
    "later_init": "identity",
    "hard_tokens": "mask",
    "calibration": "heldout",
    "calibration_ratio": 0.25,
    "exited_state": "copy",
    "classifier_fit": "lbfgs",
    "last_exit": False,
}
"""Switches of the preset `sound`."""


def of(kind: type, events: Iterable[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def result_of(stage: Any) -> Any:
    """Drain a stage's events and return its result."""
    return drained(stage)


def stage_names(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the planned stages."""
    return tuple(stage.name for stage in planned_stages(config))


def numbers(events: Iterable[Event], *, steps: bool = False) -> list[Event]:
    """Return the events without durations, reuse and, unless asked for, steps: all that must be the same each time."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            found.append(replace(event, peak_flops=None))
        elif isinstance(event, StageStarted):
            found.append(replace(event, reused=False))
        elif isinstance(event, StageEnded | Epoch):
            found.append(replace(event, seconds=0.0))
        elif isinstance(event, Savings):
            found.append(replace(event, time=None, time_low=None, time_high=None, rounds=0, busy=""))
        elif isinstance(event, Warned) and "busy" in event.message:
            continue  # what else the machine does
        elif isinstance(event, Step):
            found += [replace(event, seconds=0.0)] if steps else []
        elif not isinstance(event, RunFinished | Profiled):
            found.append(event)
    return found


def profiles(events: Iterable[Event]) -> dict[str, Profiled]:
    return {event.stage: event for event in events if isinstance(event, Profiled)}


class Shelf:
    """A checkpoint in memory."""

    folder = "nowhere"

    def __init__(self) -> None:
        self.kept: dict[str, Weights] = {}

    def turn(self, stage: str) -> AbstractContextManager[None]:
        return nullcontext()

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Weights] | None:
        return ((), self.kept[stage]) if stage in self.kept else None

    def keep(self, stage: str, events: object, weights: Weights) -> None:
        self.kept[stage] = weights

    def progress(self, stage: str) -> None:
        return None

    def keep_progress(self, stage: str, progress: object) -> None:
        pass


def trained(config: RunConfig, dataset: Dataset) -> tuple[list[Event], Transformer]:
    """Run the whole protocol; return its events and the trained model."""
    shelf = Shelf()
    events = list(train(config, dataset, None, shelf))  # type: ignore[arg-type]
    return events, load_model(config, WORDS, shelf)  # type: ignore[arg-type]
