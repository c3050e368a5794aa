"""Hand a run's events to the store in batches, then to whoever listens."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from core.events import Event, Step, TerminalEvent
from core.protocol.checkpoint import Checkpoint
from core.state import RunState, reduce_all
from core.store.writer import Writer

BATCH_SECONDS = 0.1
"""Steps are stored and published at most this often; anything rarer goes at once."""


Publish = Callable[[int, Sequence[Event]], None]


class Outbox:
    """Hands events on in batches, to the store and then to the listener; the checkpoint's warnings among them.

    Steps are stored by a thread of their own, so that training never waits for the disk: what comes meanwhile goes with
    the next batch. Whatever is rarer is stored before training goes on. The listener is called by who puts the events.
    """

    def __init__(self, run: int, store: Writer, publish: Publish, checkpoint: Checkpoint) -> None:
        self.run, self.store, self.publish, self.checkpoint = run, store, publish, checkpoint
        self.state = RunState()
        self._unseen: list[Event] = []
        self._waiting: list[Event] = []
        self._stored: list[list[Event]] = []
        self._sent = 0.0
        self._busy = False
        self._lock = threading.Lock()  # of the six above
        self._thread = ThreadPoolExecutor(1, "store")
        self._storing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()

    def put(self, event: Event) -> None:
        with self._lock:
            fresh = (*self.checkpoint.warnings(), event)
            self._waiting += fresh
            self._unseen += fresh
            if not isinstance(event, Step):
                self._see()
            begin = isinstance(event, Step) and not self._busy and self._is_due()
            self._busy = self._busy or begin
        if begin:
            self._begin_storing()
        elif not isinstance(event, Step):
            if self._storing is not None:
                wait([self._storing])
            self._store()
        self._publish()

    def end(self, event: TerminalEvent) -> None:
        """Put the end of a run that did not finish, once its checkpoint is written."""
        self.checkpoint.flush()
        self.put(event)

    def _see(self) -> None:
        """Bring the state up to date, which for each step at once would take longer than to store it."""
        self.state = reduce_all(self.state, self._unseen)
        self._unseen = []

    def _is_due(self) -> bool:
        return bool(self._waiting) and time.monotonic() - self._sent >= BATCH_SECONDS

    def _begin_storing(self) -> None:
        """Store on the thread, or here and now where the system has no thread for us."""
        try:
            self._storing = self._thread.submit(self._store_what_is_due)
        except RuntimeError:
            with self._lock:
                self._busy = False
            self._store()

    def _store_what_is_due(self) -> None:
        """On the thread. What can't be stored fails again, and is raised, where training waits for the store."""
        try:
            while self._busy:
                self._store()
                with self._lock:
                    self._busy = self._is_due()
        except Exception:
            with self._lock:
                self._busy = False

    def _store(self) -> None:
        with self._lock:
            self._see()
            batch, self._waiting, state = self._waiting, [], self.state
            self._sent = time.monotonic()
        if not batch:
            return
        try:
            self.store.append(self.run, batch, state)
        except BaseException:
            with self._lock:
                self._waiting = batch + self._waiting  # it is stored with the next batch
            raise
        with self._lock:
            self._stored.append(batch)

    def _publish(self) -> None:
        with self._lock:
            batches, self._stored = self._stored, []
        for batch in batches:
            self.publish(self.run, batch)
