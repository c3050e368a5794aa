"""What the Live screen shows beside a run's state: who trains it, where, and its planned stages."""

from dataclasses import dataclass
from typing import Literal

from core.state import LIVE, RunState, StageState
from eetui.drawing.figures import MISSING


@dataclass(frozen=True)
class Situation:
    """Who trains the run, and where it stands with the training thread of this console.

    Attributes:
        phase: of the training thread, if it trains this run; else None.
        place: in this console's queue, from 1.
        elapsed: seconds since it began, or how long it took.
    """

    phase: str | None = None
    place: int | None = None
    elapsed: float | None = None


@dataclass(frozen=True)
class Machine:
    """What the facts say of where the run is trained.

    Attributes:
        memory: in bytes.
        memory_word: `now` of a run in training here, `peak` of a finished one.
        patience: epochs without improvement that end a language model stage.
        peak: what matrix products reach, in FLOP/s.
    """

    device: str = MISSING
    memory: int | None = None
    memory_word: str = ""
    patience: int = 0
    peak: float | None = None


StageStatus = Literal["done", "reused", "active", "paused", "waiting", "stopped", "failed", "not run"]


@dataclass(frozen=True)
class StageRow:
    """A planned stage; `stage` once it has started."""

    name: str
    status: StageStatus
    stage: StageState | None = None


def stage_rows(state: RunState, held: bool = False) -> tuple[StageRow, ...]:
    """All planned stages in order; `held` is whether the run is paused."""
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
