"""How a stage of a run is carried out: its events, its profile, and where its result is kept."""

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from core.events import Event, PlannedStage, StageEnded, StageStarted, Step
from core.generators import Returning
from core.machine.clock import UNPROFILED, Clock
from core.protocol.checkpoint import Checkpoint
from core.protocol.memory import Shelf, StageMemory

Result = TypeVar("Result")
Stage = Generator[Event, None, Result]


@dataclass(frozen=True)
class Runner:
    """Carries out the stages of one run.

    Attributes:
        siblings: results that the runs of an experiment share.
        checkpoint: the run's trained weights; None: nothing is written.
        clock: times the parts of every stage.
    """

    siblings: Shelf
    checkpoint: Checkpoint | None
    clock: Clock

    @staticmethod
    def unkept() -> "Runner":
        """Return a runner that shares nothing, writes nothing and times nothing."""
        return Runner(StageMemory().shelf(""), None, UNPROFILED)

    def kept(self, stage: PlannedStage, work: Callable[[], Stage[Result]], *, shared: bool = False) -> Stage[Result]:
        """Yield a stage's events and return its result: from a sibling run, else the checkpoint, else computed.

        The result is then stored wherever it was missing. The checkpoint stores trained weights only.

        Args:
            work: function that starts the stage.
            shared: whether the result does not depend on the method, so that sibling runs share it.
        """
        shelves: list[Shelf] = [self.siblings] if shared else []
        turn: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if stage.trains and self.checkpoint is not None:
            shelves.append(self.checkpoint)
            turn = self.checkpoint.turn(stage.name)
        with turn:
            kept = next((kept for shelf in shelves if (kept := shelf.recall(stage.name))), None)
            if kept is None:
                began, recorded = time.perf_counter(), list[Event]()
                result = yield from _recorded(recorded, self._profiled(stage, work()))
                news: tuple[Event, ...] = (StageEnded(stage.name, time.perf_counter() - began),)
                kept = (*recorded, *news), result
            else:
                news = tuple(replace(one, reused=True) if isinstance(one, StageStarted) else one for one in kept[0])
            for shelf in shelves:  # before it is said to have ended: who reads that finds it
                shelf.keep(stage.name, *kept)
        yield from news
        found: Result = kept[1]
        return found

    def timed(self, stage: PlannedStage, work: Stage[Result]) -> Stage[Result]:
        """Carry out a stage; yield its profile and `StageEnded` after its events, and return its result."""
        began = time.perf_counter()
        result = yield from self._profiled(stage, work)
        yield StageEnded(stage.name, time.perf_counter() - began)
        return result

    def _profiled(self, stage: PlannedStage, work: Stage[Result]) -> Stage[Result]:
        """Carry out a stage; yield its profile after its events, and return its result."""
        self.clock.begin()
        result = yield from work
        yield from self.clock.read(stage.name)
        return result


def _recorded(events: list[Event], stage: Stage[Result]) -> Stage[Result]:
    """Carry out a stage, adding every event but its steps to `events`."""
    running = Returning(stage)
    for event in running:
        if not isinstance(event, Step):
            events.append(event)
        yield event
    return running.result
