"""What tests of training share: events by type, the result of a stage, figures without clocks."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from core.config.run_config import RunConfig
from core.events import Epoch, Event, Profiled, RunFinished, RunStarted, Savings, StageEnded, StageStarted, Step
from core.protocol.order import planned_stages

MakeConfig = Callable[..., RunConfig]
DIM, WORDS, SEED = 8, 30, 42
"""Of `tiny_config` and `tiny_dataset`."""


def of(kind: type, events: Iterable[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def result_of(stage: Any) -> Any:
    """What a stage returns once its events are drained."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value


def stage_names(config: RunConfig) -> tuple[str, ...]:
    """Names of the planned stages."""
    return tuple(stage.name for stage in planned_stages(config))


def numbers(events: Iterable[Event], *, steps: bool = False) -> list[Event]:
    """What must be the same each time: everything but clocks, who computed it and, unless asked for, steps."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            found.append(replace(event, peak_flops=None))
        elif isinstance(event, StageStarted):
            found.append(replace(event, reused=False))
        elif isinstance(event, StageEnded | Epoch):
            found.append(replace(event, seconds=0.0))
        elif isinstance(event, Savings):
            found.append(replace(event, time=None, time_low=None, time_high=None))
        elif isinstance(event, Step):
            found += [replace(event, seconds=0.0)] if steps else []
        elif not isinstance(event, RunFinished | Profiled):
            found.append(event)
    return found
