"""Data of the Live screen beside a run's state: its place in this console, the machine, the planned stages."""

from dataclasses import dataclass
from typing import Literal

from core.state import LIVE, RunState, StageState
from eetui.drawing.figures import MISSING


@dataclass(frozen=True)
class Situation:
    """A run's place in this console: in training, queued, or neither.

    Attributes:
        phase: phase of the training thread if it trains this run; else None.
        place: place in this console's queue, from 1.
        elapsed: seconds since the run started, or that it took.
    """

    phase: str | None = None
    place: int | None = None
    elapsed: float | None = None


@dataclass(frozen=True)
class Machine:
    """The machine that trains the run.

    Attributes:
        memory: memory in bytes.
        memory_word: `now` for a run in training here, `peak` for a finished one.
        patience: epochs without improvement that end a language model stage.
        peak: fastest matmul, in FLOP/s.
    """

    device: str = MISSING
    memory: int | None = None
    memory_word: str = ""
    patience: int = 0
    peak: float | None = None


StageStatus = Literal["done", "reused", "active", "paused", "waiting", "stopped", "failed", "not run"]


@dataclass(frozen=True)
class StageRow:
    """A planned stage; `stage` is None until it starts."""

    name: str
    status: StageStatus
    stage: StageState | None = None


def stage_rows(state: RunState, held: bool = False) -> tuple[StageRow, ...]:
    """Return all planned stages in order; `held`: whether the run is paused."""
    started = {stage.name: stage for stage in state.stages}
    planned = state.started.stages if state.started else ()
    return tuple(
        StageRow(stage.name, _status(state, started.get(stage.name), held), started.get(stage.name))
        for stage in planned
    )


def _status(state: RunState, stage: StageState | None, held: bool) -> StageStatus:
    if stage is None:
        return "waiting" if state.status in LIVE else "not run"
    if stage.seconds is not None:
        return "reused" if stage.reused else "done"
    endings: dict[str, StageStatus] = {"finished": "done", "failed": "failed", "interrupted": "stopped"}
    return endings.get(state.status, "paused" if held else "active")
