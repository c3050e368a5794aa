"""The writing side of the store: one connection, short transactions, one at a time."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from core.errors import StoreError
from core.events import Event, RunInterrupted
from core.state import RunState
from core.store.bin import put_in_bin, take_out_of_bin, too_long_in_bin
from core.store.files import delete_checkpoint, real_path
from core.store.holding import Claimed, abandoned, beat, claimed, hold, own_runs, require_own, require_resumable
from core.store.liveness import GONE
from core.store.lock import trainer_of
from core.store.log_size import LogSize
from core.store.new_runs import NewRun, create_run, require_free
from core.store.opening import closed_by_errors, connect_to_write, explaining, write_ahead
from core.store.place import Place
from core.store.recording import Batch, Recording
from core.store.rows import insert, update_run
from core.store.tokens import EvaluationText, drop_unread_texts, keep_text

Also = Callable[[sqlite3.Connection, list[int]], None]
Choose = Callable[[sqlite3.Connection], int | None]


class Writer:
    """Stores runs and their events. Threads that share it wait for each other's transactions.

    Attributes:
        remark: what to say of where the database lies; empty if there is nothing.
        held_up: why a run in training waits to be stored, for whoever shows it; None while none does.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the database, close the books of runs whose process is gone, and empty the bin of old ones.

        Raises:
            StoreError: it can't be opened or written.
        """
        self.path = path
        self.held_up: str | None = None
        self._connection = connect_to_write(path)
        self._recording = Recording(self._connection)
        self._turn = threading.Lock()
        with closed_by_errors(self._connection), explaining(path):
            self.remark = write_ahead(self._connection, path)
            self.close_abandoned()
            for run in too_long_in_bin(self._connection):
                self.delete(run)
            self._place = Place(path)
            self._log = LogSize(self._connection, real_path(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def is_in_place(self) -> bool:
        """Tell whether the database still is the file of its name, so that what is written is there tomorrow."""
        return self._place.is_kept()

    def copy_to(self, target: Path) -> None:
        """Write all that this connection sees to another file, though the database itself may have no name any more.

        Raises:
            StoreError: it can't be written, or what is there can't be read.
        """
        with self._turn, explaining(target), contextlib.closing(sqlite3.connect(target)) as copy:
            self._connection.backup(copy)

    def own_runs(self, *, live: bool = False, unfinished: bool = False) -> list[int]:
        """Return the runs that this process holds or held, or only those that are queued or running, or did not finish.

        Deleted ones are not among them.
        """
        with self._turn, explaining(self.path):
            return own_runs(self._connection, live=live, unfinished=unfinished)

    def require_free(self, names: Iterable[str | None]) -> None:
        """Refuse names that runs have.

        Raises:
            StoreError: a run has one of them.
        """
        with self._turn, explaining(self.path):
            for name in filter(None, names):
                require_free(self._connection, name)

    def create_experiment(
        self, runs: Sequence[NewRun], also: Also = lambda connection, numbers: None, experiment: int | None = None
    ) -> list[int]:
        """Queue the runs of one experiment; their numbers.

        Args:
            also: called with the connection and the numbers, to store more in the same transaction.
            experiment: the number of an experiment that the runs join; None: they are a new one.

        Raises:
            StoreError: a name is taken; nothing is stored.
        """
        with self.transaction():
            row = self._connection.execute("SELECT coalesce(max(experiment), 0) + 1 FROM runs").fetchone()
            numbers = [create_run(self._connection, run, experiment or row[0]) for run in runs]
            also(self._connection, numbers)
        for number in numbers:
            if trainer_of(self.path, number) is None:
                delete_checkpoint(self.path, number)  # left behind by another database of this name
        return numbers

    def requeue(self, runs: Sequence[int]) -> None:
        """Queue runs that did not finish once more, in this process's name; their log goes on where it ended.

        Raises:
            StoreError: one of them is live, finished or gone; nothing is changed.
        """
        with self.transaction():
            for run in runs:
                require_resumable(self._connection, self.path, run)
                self._hold(run)

    def _hold(self, run: int) -> None:
        """Make a run this process's, to be trained from where it stands."""
        self._recording.forget(run)
        hold(self._connection, run)

    def take(self, choose: Choose) -> int | None:
        """Make the run that `choose` finds in the queue this process's; None if it finds none.

        One process at a time chooses, so that no run is taken twice.
        """
        with self.transaction():
            run = choose(self._connection)
            if run is not None:
                self._hold(run)
        return run

    def claim(self, run: int) -> Claimed:
        """Make sure that a run is this process's to train, and tell what is stored of it.

        Raises:
            LostRunError: it is not, or not any more.
        """
        with self.transaction():
            self._require_own(run)
            return claimed(self._connection, run)

    def heartbeat(self, runs: Sequence[int]) -> None:
        """Note that this process still holds these runs, be they queued, held or in training."""
        with self.transaction():
            beat(self._connection, runs)

    def keep_text(self, fingerprint: str, text: EvaluationText) -> None:
        """Store the evaluation text of a corpus, unless it is there already, as long or longer."""
        with self.transaction():
            keep_text(self._connection, fingerprint, text)

    def append(self, run: int, events: Sequence[Event], state: RunState) -> None:
        """Store events, what they measured, and how the run stands after them, in one transaction.

        A run that starts again, because it was resumed, loses what it had measured before.

        Raises:
            LostRunError: another process resumed the run meanwhile, or deleted it.
            StoreError: it can't be stored; nothing is.
        """
        batch = Batch.of(run, events, state)
        with self.transaction():
            self._require_own(run)
            self._recording.store(self._connection, batch)
        self._mind_log()

    def kept_log(self) -> int:
        """Return the bytes of a write-ahead log that a reader keeps from being emptied; 0 while none does."""
        return self._log.kept

    def _require_own(self, run: int) -> None:
        """Refuse to write of a run that another process holds, and take back one that was taken for abandoned."""
        if require_own(self._connection, self.path, run) == "interrupted":
            self._recording.take_back(self._connection, run)

    def _mind_log(self) -> None:
        """Empty the write-ahead log if it is too long; what is stored is stored, whatever comes of it."""
        with self._turn, contextlib.suppress(sqlite3.OperationalError):
            self._log.look()

    def end(self, run: int, event: RunInterrupted) -> None:
        """End a run that is queued or running, unless another process has done so; its figures stay."""
        with self.transaction():
            self._recording.end(self._connection, run, event)

    def rename(self, run: int, name: str) -> None:
        """Give a run another name.

        Raises:
            StoreError: the name is taken.
        """
        with self.transaction():
            require_free(self._connection, name)
            update_run(self._connection, run, {"name": name})

    def tag(self, run: int, tags: Sequence[str]) -> None:
        """Add tags to a run."""
        with self.transaction():
            insert(self._connection, "tags", [{"run_id": run, "tag": tag} for tag in tags], where_taken="IGNORE")

    def untag(self, run: int, tags: Sequence[str]) -> None:
        """Take tags off a run."""
        with self.transaction():
            sql = "DELETE FROM tags WHERE run_id = ? AND tag = ?"
            self._connection.executemany(sql, [(run, tag) for tag in tags])

    def note(self, run: int, text: str) -> None:
        """Add a note to a run."""
        with self.transaction():
            insert(self._connection, "notes", [{"run_id": run, "time": time.time(), "text": text}])

    def discard(self, runs: Sequence[int]) -> None:
        """Move runs into the bin, from which they can be restored for `KEPT_DAYS`.

        Raises:
            StoreError: one of them is live or not there; nothing is changed.
        """
        with self.transaction():
            for run in runs:
                if trainer := trainer_of(self.path, run):
                    raise StoreError(f"run {run} can't be deleted: {trainer} is training it; stop it there first")
                put_in_bin(self._connection, run)

    def restore(self, runs: Sequence[int]) -> list[str]:
        """Take runs out of the bin; their names, which may differ from what they were where those are taken.

        Raises:
            RunLookupError: one of them is not in the bin; nothing is changed.
        """
        with self.transaction():
            return [take_out_of_bin(self._connection, run) for run in runs]

    def delete(self, run: int) -> None:
        """Delete a run for good with all that belongs to it: its checkpoint, and its text if no other run is on it."""
        with self.transaction():
            self._connection.execute("DELETE FROM runs WHERE id = ?", [run])
            drop_unread_texts(self._connection)
        delete_checkpoint(self.path, run)

    def close_abandoned(self) -> None:
        """Mark as interrupted what is queued or running, but whose process no longer exists."""
        if abandoned(self._connection):
            with self.transaction():
                for run in abandoned(self._connection):  # nobody resumes one of them meanwhile
                    self._recording.end(self._connection, run, RunInterrupted(GONE, 0.0))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Store what the block does with the connection, all of it or nothing.

        It takes the write lock at once, so that two writers wait for each other and never fail.
        """
        with self._turn, explaining(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it too
                    self._connection.execute("ROLLBACK")
                raise
