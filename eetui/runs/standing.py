"""How far live runs are, from their events and from what the training thread is doing."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce as fold
from typing import TYPE_CHECKING, Any

from core.state import LIVE, RunState, reduce
from core.store.reader import Reader
from eetui.summary.progress import progress

if TYPE_CHECKING:
    from eetui.console.training_thread import Trainer


@dataclass(frozen=True)
class Standing:
    """What is known of a run beyond its row: how far it is, and what the training thread does with it.

    Attributes:
        progress: share of the work done, of a running one.
        elapsed: seconds since it started, of a running one.
        place: in the queue of this console, from 1.
        held: paused between two steps.
        stopping: it was told to stop, and finishes its step.
    """

    progress: float | None = None
    elapsed: float | None = None
    place: int | None = None
    held: bool = False
    stopping: bool = False


class Standings:
    """What lists show of a run beyond its row."""

    def __init__(self, reader: Reader, trainer: "Trainer") -> None:
        self.states, self.trainer = LiveStates(reader), trainer

    def of(self, row: dict[str, Any]) -> Standing:
        """The standing of a run, whoever trains it.

        Raises:
            StoreError: the database can't be read.
        """
        if row["status"] not in LIVE:
            return Standing()
        run, now = row["id"], self.trainer.snapshot
        if row["status"] == "queued":
            return Standing(place=now.queue.index(run) + 1 if run in now.queue else None)
        return Standing(
            progress=progress(self.states.state(run)),
            elapsed=time.time() - row["started"] if row["started"] else None,
            held=now.run == run and now.phase == "paused",
            stopping=now.run == run and now.phase == "stopping",
        )


class LiveStates:
    """The states of running runs, kept up to date by reading only what was added to their logs."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._states: dict[int, tuple[RunState, int]] = {}

    def state(self, run: int) -> RunState:
        """The run as its events tell it by now; of the steps only those of the epoch in progress are read.

        Raises:
            StoreError: the database can't be read.
        """
        if run in self._states:
            state, place = self._states[run]
        else:
            events, place = self.reader.events(run, steps=False)
            state = fold(reduce, events, RunState())
        events, place = self.reader.events(run, place)
        state = fold(reduce, events, state)
        self._states[run] = state, place
        return state

    def keep(self, runs: Iterable[int]) -> None:
        """Forget the others: they are no longer running."""
        wanted = set(runs)
        self._states = {run: kept for run, kept in self._states.items() if run in wanted}
