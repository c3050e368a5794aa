"""Everything the Live screen knows of its run: its row, its log, its siblings, and which process trains it."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from core.config.stored import completed, is_imported
from core.events import RunInterrupted
from core.machine.processes import resident_memory
from core.state import LIVE, RunState, StageState, reduce
from core.store.reader import Query, Reader
from eetui.console.terminal import StrayOutput
from eetui.live.following import Following
from eetui.live.situation import Machine, Situation, StageRow, stage_rows
from eetui.summary.elapsed import Elapsed
from eetui.summary.profile import peak_of

if TYPE_CHECKING:
    from eetui.console.training_thread import Snapshot

MOST_PINS = 8
"""Marked runs that are drawn behind a run at most."""
SIBLING_SECONDS = 2.0
"""Interval between reads of a sibling in training."""
ENDED = ("finished", "failed", "interrupted")


class Watching:
    """One run; `update` reads its row again, and of its log what is new."""

    def __init__(self, reader: Reader, run: int, stray: StrayOutput) -> None:
        """Read the run's row.

        Raises:
            RunLookupError: there is no such run.
        """
        self.reader, self.run, self.stray = reader, run, stray
        self.row: dict[str, Any] = reader.run(run)
        self.following = Following(reader, run)
        self.phase: str | None = None
        """Phase of the training thread while it has this run; else None."""
        self._queue: tuple[int, ...] = ()
        self._siblings = Siblings(reader)
        self._since_start = Elapsed()
        self._stray_shown = 0

    def update(self, now: "Snapshot") -> None:
        """Read what is new.

        Raises:
            RunLookupError: the run was deleted.
        """
        self.row = self.reader.run(self.run)
        self.following.pull()
        self.phase = now.phase if now.run == self.run else None
        self._queue = now.queue
        if self.phase:
            self._note_stray_output()

    def _note_stray_output(self) -> None:
        text = self.stray.text()
        self.following.say("stray", text[self._stray_shown :].strip())
        self._stray_shown = len(text)

    @property
    def state(self) -> RunState:
        """State of the run as its log tells it; that its process is gone is in no log."""
        state = self.following.state
        if self.row["status"] == "interrupted" and state.status in LIVE:
            return reduce(state, RunInterrupted(self.row["error"], 0.0))
        return state

    @property
    def stages(self) -> tuple[StageRow, ...]:
        """All planned stages."""
        return stage_rows(self.state, held=self.phase == "paused")

    @property
    def elsewhere(self) -> str | None:
        """`process 123 on host` if another process trains the run or has it in its queue; else None."""
        mine = self.phase or self.run in self._queue or self.row["status"] in ENDED
        return None if mine else f"process {self.row['pid']} on {self.row['host']}"

    @property
    def why_not_paused(self) -> str:
        """Message for an attempt to pause a run that is not in training here."""
        name = self.row["name"]
        if self.row["status"] in ENDED or self.phase:
            return f"{name} is {self.phase or self.row['status']}"
        if self.elsewhere:
            return f"{name} belongs to {self.elsewhere}: only that can pause it"
        return f"{name} waits in the queue; o shows it"

    @property
    def situation(self) -> Situation:
        """Place of the run in this console, for the title bar."""
        place = self._queue.index(self.run) + 1 if self.run in self._queue else None
        return Situation(self.phase, place, self._elapsed())

    def _elapsed(self) -> float | None:
        """Return the seconds since the run started; for one that has ended, the seconds it took."""
        seconds: float | None = self.row["seconds"]
        if self.row["status"] == "running" and self.row["started"] is not None:
            seconds = self._since_start.since(self.run, float(self.row["started"]))
        return seconds

    @property
    def machine(self) -> Machine:
        """Machine of the run, for the facts."""
        record = self.row["record"]
        threads = record.get("threads")
        counted = f"{threads} thread{'' if threads == 1 else 's'}" if threads else None
        parts = (record.get("device"), counted, record.get("dtype"))
        patience = 0 if is_imported(self.row) else int(completed(self.row["config"])["train.patience"])
        device = ", ".join(str(part) for part in parts if part)
        peak = self.state.peak_memory
        memory = peak if peak is not None else resident_memory() if self.phase else None
        return Machine(device, memory, "now" if peak is None else "peak", patience, peak_of(self.state))

    def neighbour(self, direction: int) -> int | None:
        """Return the next run of the experiment (direction 1) or the previous one (-1), if there is one."""
        runs = [row["id"] for row in self._siblings.rows(self.row["experiment"])]
        index = runs.index(self.run) + direction if self.run in runs else -1
        return runs[index] if 0 <= index < len(runs) else None

    def stages_behind(self, stage: str, marked: Iterable[int], *, experiment: bool) -> dict[str, StageState]:
        """Return the same stage of other runs, by run name: marked ones, and those of its experiment if asked for."""
        rows = self._siblings.pinned(list(marked)[:MOST_PINS])
        rows += self._siblings.rows(self.row["experiment"]) if experiment else []
        found = self._siblings.states({row["id"]: row for row in rows}.values(), self.run)
        stages = {name: next((one for one in state.stages if one.name == stage), None) for name, state in found.items()}
        return {name: one for name, one in stages.items() if one is not None and one.history}


class Siblings:
    """Other runs than the one that is watched; those that have ended are read once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._states: dict[int, tuple[str, float, RunState]] = {}

    def rows(self, experiment: int) -> list[dict[str, Any]]:
        """Return all runs of the experiment in their order."""
        return self.reader.runs(Query("experiment = ?", (experiment,)))

    def pinned(self, runs: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of these runs."""
        marks = ", ".join("?" * len(runs))
        return self.reader.runs(Query(f"id IN ({marks})", tuple(runs))) if runs else []

    def states(self, rows: Iterable[dict[str, Any]], run: int) -> dict[str, RunState]:
        """Return the state of every run but this one, by name."""
        found: dict[str, RunState] = {}
        for row in rows:
            if row["id"] != run and row["status"] != "queued":
                found[row["name"]] = self._state(row)
        return found

    def _state(self, row: dict[str, Any]) -> RunState:
        status, read, state = self._states.get(row["id"], ("", 0.0, RunState()))
        ended = status == row["status"] and status in ENDED
        if not ended and time.monotonic() - read > SIBLING_SECONDS:
            state = self.reader.state(row["id"])
            self._states[row["id"]] = (row["status"], time.monotonic(), state)
        return state
