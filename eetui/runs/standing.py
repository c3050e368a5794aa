"""Progress of live runs, from their events and the training thread's snapshot."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.state import LIVE, RunState, reduce_all
from core.store.reader import Reader
from eetui.summary.elapsed import Elapsed
from eetui.summary.progress import progress

if TYPE_CHECKING:
    from eetui.console.training_thread import Trainer


@dataclass(frozen=True)
class Standing:
    """State of a live run beyond its row: its progress, and its place in the training thread.

    Attributes:
        progress: share of the work done; None unless the run is running.
        elapsed: seconds since it started; None unless the run is running.
        place: place in this console's queue, from 1.
        held: whether it is paused between two steps.
        stopping: whether it was told to stop and is finishing its step.
    """

    progress: float | None = None
    elapsed: float | None = None
    place: int | None = None
    held: bool = False
    stopping: bool = False


class Standings:
    """The standing of each run of a list."""

    def __init__(self, reader: Reader, trainer: "Trainer") -> None:
        self.states, self.trainer, self._elapsed = LiveStates(reader), trainer, Elapsed()

    def of(self, row: dict[str, Any]) -> Standing:
        """Return the standing of a run, whichever process trains it.

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
            elapsed=self._elapsed.since(run, row["started"]) if row["started"] else None,
            held=now.run == run and now.phase == "paused",
            stopping=now.run == run and now.phase == "stopping",
        )


class LiveStates:
    """States of running runs, updated by reading only what was added to their logs."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._states: dict[int, tuple[RunState, int]] = {}

    def state(self, run: int) -> RunState:
        """Return the run's state by now; only the steps of the epoch in progress are read.

        Raises:
            StoreError: the database can't be read.
        """
        if run in self._states:
            state, place = self._states[run]
        else:
            events, place = self.reader.events(run, steps=False)
            state = reduce_all(RunState(), events)
        events, place = self.reader.events(run, place)
        state = reduce_all(state, events)
        self._states[run] = state, place
        return state

    def keep(self, runs: Iterable[int]) -> None:
        """Forget all other runs, which are no longer running."""
        wanted = set(runs)
        self._states = {run: kept for run, kept in self._states.items() if run in wanted}
