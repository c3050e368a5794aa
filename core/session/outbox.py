"""Outbox of a run's events: to the store in batches, then to the listener."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from core.errors import StoreError, UnwritableError, VanishedError
from core.events import Event, Publish, Step, TerminalEvent, Warned
from core.protocol.checkpoint import Checkpoint
from core.protocol.patience import IMPATIENT, Patience
from core.state import RunState, reduce_all
from core.store.writer import Writer

BATCH_SECONDS = 0.1
"""Interval at which steps are stored and published; other events go at once."""
RARE_SECONDS = 10.0
"""The same while a reader keeps the write-ahead log from being emptied, as each batch makes it longer."""


class Outbox:
    """Passes events and the checkpoint's warnings in batches to the store, then to the listener.

    Steps are stored on a thread of their own, so that training never waits for the disk; events that arrive meanwhile
    go with the next batch. Other events are stored before `put` returns, which may take as long as the disk is full.
    The listener is called on the caller's thread.
    """

    def __init__(
        self, run: int, store: Writer, publish: Publish, checkpoint: Checkpoint, patience: Patience = IMPATIENT
    ) -> None:
        self.run, self.store, self.publish, self.checkpoint, self.patience = run, store, publish, checkpoint, patience
        self.state = RunState()
        self._missed = self._said_kept = False
        self._published: list[Warned] = []
        self._unseen: list[Event] = []
        self._waiting: list[Event] = []
        self._stored: list[list[Event]] = []
        self._sent = 0.0
        self._busy = False
        self._lock = threading.Lock()  # guards the six above
        self._thread = ThreadPoolExecutor(1, "store")
        self._storing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()

    def put(self, event: Event) -> None:
        """Take an event; publish the batches that are stored by now.

        Raises:
            VanishedError: the database is no longer the file of its name; the event is stored in what is left of it,
                or waits to be. Raised once.
            UnwritableError: it can't be stored, and the run is to stop.
            Exception: what the store or the listener raised.
        """
        with self._lock:
            notes = self.patience.notes()  # published when they were made
            fresh = (*notes, *self.checkpoint.warnings(), *self._kept_log(), event)
            self._published += notes
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
            self.patience.attempt(self._store_in_place)
        self._publish()
        if not isinstance(event, Step):
            self._require_place()

    def move_to(self, store: Writer) -> None:
        """Store in another database from now on, the waiting events first.

        Raises:
            UnwritableError: they can't be stored, and the run is to stop.
        """
        self.store = store
        self.patience.attempt(self._store)

    def end(self, event: TerminalEvent) -> None:
        """Write the checkpoint of a run that did not finish, then put its terminal event."""
        self.checkpoint.flush()
        self.put(event)

    def abandon(self, event: TerminalEvent) -> None:
        """End a run whose events can't be stored: write its checkpoint, try once more to store, and publish the end."""
        self.checkpoint.flush()
        with self._lock:
            self._waiting += [*self.patience.notes(), *self.checkpoint.warnings(), event]
            self._unseen += [event]
            self._see()
        with contextlib.suppress(StoreError):
            self._store()
        with self._lock:
            self._stored, self._waiting = [*self._stored, self._waiting], []
        self._publish()

    def _store_in_place(self) -> None:
        """Store the waiting events; what keeps that from working may be that the file is gone."""
        try:
            self._store()
        except UnwritableError:
            self._require_place()
            raise

    def _require_place(self) -> None:
        if not self._missed and not self.store.is_in_place():
            self._missed = True
            raise VanishedError(f"the database {self.store.path} was removed or replaced")

    def _see(self) -> None:
        """Update the state; doing so for each step would take longer than storing it."""
        self.state = reduce_all(self.state, self._unseen)
        self._unseen = []

    def _is_due(self) -> bool:
        interval = RARE_SECONDS if self.store.kept_log() else BATCH_SECONDS
        return bool(self._waiting) and time.monotonic() - self._sent >= interval

    def _kept_log(self) -> Iterator[Warned]:
        """Yield a warning, once, if a reader keeps the write-ahead log from being emptied."""
        kept = self.store.kept_log()
        if kept and not self._said_kept:
            self._said_kept = True
            yield Warned(
                f"a program that reads {self.store.path} has not let go of it for long, so that its write-ahead log "
                f"grows ({kept / 2**20:.0f} MiB): steps are stored every {RARE_SECONDS:.0f} s meanwhile; end it"
            )

    def _begin_storing(self) -> None:
        """Store on the worker thread, or on this one if no thread can be started."""
        try:
            self._storing = self._thread.submit(self._store_what_is_due)
        except RuntimeError:
            with self._lock:
                self._busy = False
            self.patience.attempt(self._store_in_place)

    def _store_what_is_due(self) -> None:
        """Worker loop. Errors are swallowed here: the batch stays queued and the next blocking store raises."""
        try:
            while self._busy:
                self._store()
                with self._lock:
                    self._busy = self._is_due()
        except Exception:
            with self._lock:
                self._busy = False

    def _store(self) -> None:
        """Store the waiting events; on an error they stay queued."""
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
                self._waiting = batch + self._waiting  # stored with the next batch
            raise
        with self._lock:
            self._stored.append(batch)

    def _publish(self) -> None:
        """Pass the stored batches to the listener."""
        with self._lock:
            batches, self._stored = self._stored, []
        for batch in batches:
            news = [event for event in batch if not any(event is note for note in self._published)]
            if news:
                self.publish(self.run, news)
