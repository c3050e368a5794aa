"""The training thread of the console: one queue of runs, trained one after another by `core.session.run`.

It never calls the screens. They read `snapshot` for what it is doing and the store for its results, so neither waits
for the other, and a run that another process trains looks the same.
"""

import gc
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.errors import EetuiError, VanishedError
from core.events import Event, Publish, RunInterrupted
from core.machine.pace import NO_OUTLOOK, Outlook
from core.state import Status
from eetui.console.on_end import tell_end

if TYPE_CHECKING:  # torch: only on the thread that trains
    from core.config.run_config import RunConfig
    from core.data.windows import Dataset
    from core.protocol.memory import StageMemory
    from core.session.plan import Plan
    from core.session.prepare import Prepared
    from core.store.writer import Writer
    from eetui.trackers.contract import Trackers

Phase = Literal["idle", "preparing", "training", "paused", "stopping"]
Request = Callable[["Writer"], "Prepared"]
PAUSE_CHECK_SECONDS = 0.05


@dataclass(frozen=True)
class Snapshot:
    """State of the training thread.

    Attributes:
        run: the run in training.
        queue: the runs waiting, in their order.
        requests: experiments whose corpus has yet to be read.
        problem: reason why the last request was refused, or error that ended the thread.
        held_up: why the run in training waits to be stored, such as a full disk.
        warning: what was last wrong with a tracker that is told of the runs, or with the command at the end of one:
            which of the two, and what.
    """

    phase: Phase = "idle"
    run: int | None = None
    queue: tuple[int, ...] = ()
    requests: int = 0
    problem: str | None = None
    held_up: str | None = None
    warning: tuple[str, str] | None = None

    @property
    def busy(self) -> bool:
        """Whether leaving now would interrupt anything."""
        return self.phase != "idle" or bool(self.queue) or bool(self.requests)


@dataclass(frozen=True)
class Job:
    """A run in the queue, with data shared by its experiment."""

    number: int
    config: "RunConfig"
    dataset: "Dataset"
    memory: "StageMemory"
    profile: bool = False
    outlook: Outlook = NO_OUTLOOK


class Trainer:
    """The queue, and the controls of the run in training. Every method may be called from any thread."""

    def __init__(self, database: Path, on_end: str | None = None, trackers: "Trackers" = ()) -> None:
        """Create it without a thread.

        Args:
            on_end: the user's command that is started when a run has ended.
            trackers: trackers that are told of all runs that are trained.
        """
        self.database, self.on_end, self.trackers = database, on_end, trackers
        self._lock = threading.RLock()
        self._snapshot = Snapshot()
        self._requests: deque[Request] = deque()
        self._jobs: list[Job] = []
        self._stopped = False
        self._cancelled = False
        self._alive = False
        self._store: Writer | None = None
        self._publish: Publish = _ignore
        self.lost: VanishedError | None = None
        """Error that ended the thread because the database was removed; it says where everything is."""

    @property
    def snapshot(self) -> Snapshot:
        """State of the training thread right now."""
        with self._lock:
            return replace(
                self._snapshot,
                queue=tuple(job.number for job in self._jobs),
                requests=len(self._requests),
                held_up=self._store.held_up if self._store else None,
            )

    def submit(self, plan: "Plan") -> None:
        """Request an experiment; its corpus is read and its runs are queued on the training thread."""

        def prepare(store: "Writer") -> "Prepared":
            from core.session.prepare import prepare

            return prepare(plan, store)

        self.request(prepare)

    def resume_runs(self, runs: Sequence[int]) -> None:
        """Request that interrupted or failed runs go on from their checkpoints."""

        def prepare(store: "Writer") -> "Prepared":
            from core.session.prepare import prepare_resume

            return prepare_resume(runs, store)

        self.request(prepare)

    def request(self, request: Request) -> None:
        """Request the runs that `request` prepares."""
        with self._lock:
            self._requests.append(request)

    def pause(self) -> None:
        """Pause the run after the step in progress."""
        self._switch("training", "paused")

    def unpause(self) -> None:
        """Let the paused run go on."""
        self._switch("paused", "training")

    def cancel(self, run: int) -> None:
        """Interrupt a run after the step in progress, or take it out of the queue."""
        with self._lock:
            if self._snapshot.run == run:
                self._cancelled = True
                self._set(phase="stopping")
        self._take_out([run])

    def move(self, run: int, offset: int) -> None:
        """Move a waiting run within the queue; -1 is one place earlier."""
        with self._lock:
            index = next((index for index, job in enumerate(self._jobs) if job.number == run), None)
            if index is not None:
                job = self._jobs.pop(index)
                self._jobs.insert(max(0, index + offset), job)

    def clear(self) -> None:
        """Take every waiting run out of the queue."""
        self._take_out(self.snapshot.queue)

    def stop(self) -> None:
        """End everything for good after the step in progress."""
        with self._lock:
            self._stopped = True
            self._requests.clear()
            if self._snapshot.phase != "idle":
                self._set(phase="stopping")

    def claim(self) -> bool:
        """Whether the caller must start a thread for `work`: there is something to do and no thread does it."""
        with self._lock:
            wanted = not self._alive and not self._stopped and bool(self._requests or self._jobs)
            self._alive = self._alive or wanted
            return wanted

    def work(self) -> None:
        """Train until nothing is left to do; the body of the thread that `claim` asked for."""
        from core.session import run  # noqa: F401 -- torch takes seconds: import it now, not in the middle of a run

        gc.freeze()  # torch's half a million objects: traversing them again and again would stall every thread
        try:
            while self._claimed_on():
                self._work_all()
        except Exception as error:
            self.lost = error if isinstance(error, VanishedError) else None
            message = str(error) if isinstance(error, EetuiError) else traceback.format_exc()
            with self._lock:
                self._requests.clear()
                self._jobs.clear()
                self._rest(problem=message)

    def _claimed_on(self) -> bool:
        """Whether there is something to do; if not, leave the thread under the same lock, so that nothing is missed."""
        with self._lock:
            wanted = bool(self._requests or self._jobs)
            if not wanted:
                self._rest()
            return wanted

    def _work_all(self) -> None:
        """Work while there is something to do, then let trackers take what is left."""
        from core.session.heartbeat import beating
        from core.store.writer import Writer
        from eetui.trackers.live import Mirrors

        mirroring = Mirrors(self.trackers, self.database, lambda warning: self._set(warning=("mirroring", warning)))
        with mirroring.running(), Writer(self.database) as store, beating(store, self._runs):
            self._store, self._publish = store, mirroring.publish
            while self._work_once(store):
                pass

    def _work_once(self, store: "Writer") -> bool:
        """Serve a request or train the next run; return False when there is neither."""
        with self._lock:
            request = self._requests.popleft() if self._requests else None
            job = self._jobs.pop(0) if self._jobs and request is None else None
            if request is None and job is None:
                return False
            self._cancelled = self._stopped
            self._set(phase="preparing" if request else "training", run=job.number if job else None)
        if request:
            self._prepare(request, store)
        elif job:
            self._train(job, store)
        return True

    def _prepare(self, request: Request, store: "Writer") -> None:
        from core.protocol.memory import StageMemory

        try:
            prepared = request(store)
        except EetuiError as error:
            self._set(problem=str(error))
            return
        memory = StageMemory()
        jobs = [
            Job(number, config, prepared.dataset, memory, prepared.profile, prepared.outlook)
            for number, config in zip(prepared.runs, prepared.configs, strict=True)
        ]
        with self._lock:
            self._jobs += jobs

    def _train(self, job: Job, store: "Writer") -> None:
        from core.session import run as session

        def should_stop() -> bool:
            while self._held():
                time.sleep(PAUSE_CHECK_SECONDS)
            return self._cancelled or self._stopped

        clock = session.new_clock(job.config, profile=job.profile)
        status = session.run(
            job.config, job.dataset, job.memory, job.number, store, self._publish, should_stop, clock, job.outlook
        )
        self._set(run=None)
        self._tell_end(job.number, status)

    def _tell_end(self, run: int, status: Status) -> None:
        """Start the user's command for a run that has ended, if there is one."""
        from core.store.reader import Reader

        if self.on_end is None:
            return
        with Reader(self.database) as reader:
            why = tell_end(self.on_end, self.database, run, str(reader.run(run)["name"]), status)
        if why:
            self._set(warning=("on_end", why))

    def _held(self) -> bool:
        with self._lock:
            return self._snapshot.phase == "paused" and not self._cancelled and not self._stopped

    def _runs(self) -> list[int]:
        """Return the runs that this thread holds: the one in training or paused, and those that wait."""
        now = self.snapshot
        return [*(() if now.run is None else (now.run,)), *now.queue]

    def _take_out(self, runs: Sequence[int]) -> None:
        from core.store.writer import Writer

        with self._lock:
            taken = [job.number for job in self._jobs if job.number in runs]
            self._jobs = [job for job in self._jobs if job.number not in taken]
        if taken:
            event = RunInterrupted("taken out of the queue", 0.0)
            with Writer(self.database) as store:
                for run in taken:
                    store.end(run, event)

    def _rest(self, **changes: object) -> None:
        """Leave the thread."""
        self._alive = False
        self._set(phase="idle", run=None, **changes)

    def _switch(self, before: Phase, after: Phase) -> None:
        with self._lock:
            if self._snapshot.phase == before:
                self._set(phase=after)

    def _set(self, **changes: object) -> None:
        with self._lock:
            self._snapshot = replace(self._snapshot, **changes)  # type: ignore[arg-type]


def _ignore(run: int, events: Sequence[Event]) -> None:
    """Ignore the events: screens read the store, and there is no tracker yet."""
