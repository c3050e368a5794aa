"""The writing side of the store: one connection, short transactions, one at a time."""

import contextlib
import json
import os
import sqlite3
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from core.errors import LostRunError, StoreError
from core.events import Event, Measured, RunInterrupted, RunStarted, TokensMeasured
from core.metrics import STORED
from core.state import LIVE, RunState
from core.store import codec
from core.store.bin import put_in_bin, take_out_of_bin, too_long_in_bin
from core.store.files import delete_checkpoint, real_path
from core.store.liveness import GONE, IS_HELD, IS_LIVE, Liveness, this_process
from core.store.lock import trainer_of
from core.store.log_size import LogSize
from core.store.opening import connect_to_write, explaining, write_ahead
from core.store.place import Place
from core.store.rows import insert, insert_run, update_run
from core.store.schema import TOKEN_COLUMNS, WINDOW_COLUMNS
from core.store.thinning import Thinning
from core.store.tokens import EvaluationText, integers
from core.valid_json import json_of

Also = Callable[[sqlite3.Connection, list[int]], None]
Choose = Callable[[sqlite3.Connection], int | None]


@dataclass(frozen=True)
class Claimed:
    """Creation time and reproduction record of a run that is about to be trained.

    Attributes:
        stages: keys of the stages that it shares with others of its sweep, by name.
    """

    created: float
    record: dict[str, Any]
    stages: dict[str, str] = field(default_factory=dict)

    @property
    def threads(self) -> int | None:
        """Number of threads that the run computed with when it began last, or is to begin with; None if unknown."""
        threads = self.record.get("threads")
        return threads if isinstance(threads, int) and threads > 0 else None


@dataclass(frozen=True)
class NewRun:
    """A run before it starts. Without a name it is called after its method and number."""

    name: str | None
    method: str
    seed: int
    preset: str | None
    config: str
    record: dict[str, Any]
    tags: tuple[str, ...] = ()


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
        self._next_seq: dict[int, int] = {}
        self._turn = threading.Lock()
        with explaining(path):
            self.remark = write_ahead(self._connection, path)
            self.close_abandoned()
            for run in too_long_in_bin(self._connection):
                self.delete(run)
        self._place = Place(path)
        self._log = LogSize(self._connection, real_path(path))
        self._thinning = Thinning(self._connection)

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
        chosen = IS_LIVE if live else "status <> 'finished'" if unfinished else "1"
        query = (
            f"SELECT id FROM runs WHERE pid = ? AND host = ? AND process = ? AND {chosen} "
            "AND id NOT IN (SELECT run_id FROM bin) ORDER BY id"
        )
        with self._turn, explaining(self.path):
            return [row[0] for row in self._connection.execute(query, [*this_process().values()]).fetchall()]

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
        with self._transaction():
            row = self._connection.execute("SELECT coalesce(max(experiment), 0) + 1 FROM runs").fetchone()
            numbers = [self._create(run, experiment=experiment or row[0]) for run in runs]
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
        with self._transaction():
            for run in runs:
                query = (
                    "SELECT 1 FROM runs WHERE id = ? AND status IN ('interrupted', 'failed') "
                    "AND id NOT IN (SELECT run_id FROM bin)"
                )
                if not self._connection.execute(query, [run]).fetchone():
                    raise StoreError(f"run {run} can't be resumed: another process resumed or deleted it meanwhile")
                if trainer := trainer_of(self.path, run):
                    raise StoreError(f"run {run} can't be resumed: {trainer} is training it; stop it there first")
                self._hold(run)

    def _hold(self, run: int) -> None:
        """Make a run this process's, to be trained from where it stands."""
        fresh = dict.fromkeys(("error", "seconds", "started", "ended"))
        self._next_seq.pop(run, None)  # another process may have written on
        update_run(self._connection, run, {**fresh, "status": "queued", "heartbeat": time.time(), **this_process()})

    def take(self, choose: Choose) -> int | None:
        """Make the run that `choose` finds in the queue this process's; None if it finds none.

        One process at a time chooses, so that no run is taken twice.
        """
        with self._transaction():
            run = choose(self._connection)
            if run is not None:
                self._hold(run)
        return run

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Store what the block does with the connection, all of it or nothing."""
        with self._transaction():
            yield self._connection

    def claim(self, run: int) -> Claimed:
        """Make sure that a run is this process's to train, and tell what is stored of it.

        Raises:
            LostRunError: it is not, or not any more.
        """
        with self._transaction():
            self._require_own(run)
            query = "SELECT created, record, stages FROM runs LEFT JOIN sweep_cells ON run_id = id WHERE id = ?"
            created, record, stages = self._connection.execute(query, [run]).fetchone()
        return Claimed(float(created), json.loads(record), json.loads(stages or "{}"))

    def heartbeat(self, runs: Sequence[int]) -> None:
        """Note that this process still holds these runs, be they queued, held or in training."""
        with self._transaction():
            self._connection.executemany(
                f"UPDATE runs SET heartbeat = ? WHERE id = ? AND pid = ? AND host = ? AND process = ? AND {IS_LIVE}",
                [(time.time(), run, *this_process().values()) for run in runs],
            )

    def keep_text(self, fingerprint: str, text: EvaluationText) -> None:
        """Store the evaluation text of a corpus, unless it is there already, as long or longer."""
        row = {
            "fingerprint": fingerprint,
            "vocabulary": zlib.compress(json.dumps(text.vocabulary).encode()),
            "stream": zlib.compress(text.stream.tobytes()),
        }
        with self._transaction():
            query = "SELECT stream FROM texts WHERE fingerprint = ?"
            there = self._connection.execute(query, [fingerprint]).fetchone()
            if there is None or len(integers(there[0])) < len(text.stream):
                insert(self._connection, "texts", [row], where_taken="REPLACE")

    def append(self, run: int, events: Sequence[Event], state: RunState) -> None:
        """Store events, what they measured, and how the run stands after them, in one transaction.

        A run that starts again, because it was resumed, loses what it had measured before.

        Raises:
            LostRunError: another process resumed the run meanwhile, or deleted it.
            StoreError: it can't be stored; nothing is.
        """
        now = time.time()
        start = next((event for event in events if isinstance(event, RunStarted)), None)
        results = [_result(run, event) for event in events if isinstance(event, Measured)]
        tokens = [_block_tokens(run, event) for event in events if isinstance(event, TokensMeasured)]
        with self._transaction():
            self._require_own(run)
            if start:
                self._connection.execute("DELETE FROM results WHERE run_id = ?", [run])
                self._record_threads(run, start)
            self._thinning.make_room(run, events)
            self._insert_events(run, events, now)
            insert(self._connection, "results", results)
            insert(self._connection, "token_statistics", tokens, where_taken="REPLACE")
            update_run(self._connection, run, {**_summary(state), **_times(state, now, starts=start is not None)})
            self._end_after_start(run)
        self._mind_log()

    def kept_log(self) -> int:
        """Return the bytes of a write-ahead log that a reader keeps from being emptied; 0 while none does."""
        return self._log.kept

    def _mind_log(self) -> None:
        """Empty the write-ahead log if it is too long; what is stored is stored, whatever comes of it."""
        with self._turn, contextlib.suppress(sqlite3.OperationalError):
            self._log.look()

    def _end_after_start(self, run: int) -> None:
        """Let a run that by the clock ended before it started have ended as long after as it took."""
        sql = "UPDATE runs SET ended = started + coalesce(seconds, 0) WHERE id = ? AND ended < started"
        self._connection.execute(sql, [run])

    def _record_threads(self, run: int, start: RunStarted) -> None:
        """Keep the number of threads that a run really computes with, so that it does when it is resumed."""
        sql = "UPDATE runs SET record = json_set(record, '$.threads', ?) WHERE id = ? AND ? IS NOT NULL"
        self._connection.execute(sql, [start.threads, run, start.threads])

    def end(self, run: int, event: RunInterrupted) -> None:
        """End a run that is queued or running, unless another process has done so; its figures stay."""
        with self._transaction():
            self._end(run, event)

    def rename(self, run: int, name: str) -> None:
        """Give a run another name.

        Raises:
            StoreError: the name is taken.
        """
        with self._transaction():
            self._require_free(name)
            update_run(self._connection, run, {"name": name})

    def tag(self, run: int, tags: Sequence[str]) -> None:
        """Add tags to a run."""
        with self._transaction():
            insert(self._connection, "tags", [{"run_id": run, "tag": tag} for tag in tags], where_taken="IGNORE")

    def untag(self, run: int, tags: Sequence[str]) -> None:
        """Take tags off a run."""
        with self._transaction():
            sql = "DELETE FROM tags WHERE run_id = ? AND tag = ?"
            self._connection.executemany(sql, [(run, tag) for tag in tags])

    def note(self, run: int, text: str) -> None:
        """Add a note to a run."""
        with self._transaction():
            insert(self._connection, "notes", [{"run_id": run, "time": time.time(), "text": text}])

    def discard(self, runs: Sequence[int]) -> None:
        """Move runs into the bin, from which they can be restored for `KEPT_DAYS`.

        Raises:
            StoreError: one of them is live or not there; nothing is changed.
        """
        with self._transaction():
            for run in runs:
                if trainer := trainer_of(self.path, run):
                    raise StoreError(f"run {run} can't be deleted: {trainer} is training it; stop it there first")
                put_in_bin(self._connection, run)

    def restore(self, runs: Sequence[int]) -> list[str]:
        """Take runs out of the bin; their names, which may differ from what they were where those are taken.

        Raises:
            RunLookupError: one of them is not in the bin; nothing is changed.
        """
        with self._transaction():
            return [take_out_of_bin(self._connection, run) for run in runs]

    def delete(self, run: int) -> None:
        """Delete a run for good with all that belongs to it: its checkpoint, and its text if no other run is on it."""
        with self._transaction():
            self._connection.execute("DELETE FROM runs WHERE id = ?", [run])
            fingerprints = "SELECT json_extract(record, '$.fingerprint') AS fingerprint FROM runs"
            self._connection.execute(
                "DELETE FROM texts WHERE fingerprint NOT IN "
                f"(SELECT fingerprint FROM ({fingerprints}) WHERE fingerprint IS NOT NULL)"
            )
        delete_checkpoint(self.path, run)

    def close_abandoned(self) -> None:
        """Mark as interrupted what is queued or running, but whose process no longer exists."""
        if self._abandoned():
            with self._transaction():
                for run in self._abandoned():  # nobody resumes one of them meanwhile
                    self._end(run, RunInterrupted(GONE, 0.0))

    def _abandoned(self) -> list[int]:
        liveness = Liveness()
        query = f"SELECT id, pid, host, process, coalesce(heartbeat, created) FROM runs WHERE {IS_HELD}"
        return [run for run, *owner in self._connection.execute(query).fetchall() if liveness.is_gone(*owner)]

    def _end(self, run: int, event: RunInterrupted) -> None:
        now = time.time()
        if self._connection.execute(f"SELECT 1 FROM runs WHERE id = ? AND {IS_LIVE}", [run]).fetchone():
            self._insert_events(run, [event], now)
            ended = {"status": "interrupted", "error": event.reason, "seconds": event.seconds, "ended": now}
            update_run(self._connection, run, ended)
            self._end_after_start(run)

    def _require_own(self, run: int) -> None:
        """Refuse to write of a run that another process holds, and take back one that was taken for abandoned."""
        query = "SELECT pid, host, process, status FROM runs WHERE id = ?"
        *owner, status = self._connection.execute(query, [run]).fetchone() or (None, None, None, None)
        if status is None:
            raise LostRunError(f"run {run} was deleted from {self.path} while it was in training")
        if owner != [*this_process().values()]:
            raise LostRunError(f"run {run} was resumed by process {owner[0]} on {owner[1]} while it was in training")
        if status == "interrupted" and run in self._next_seq:
            sql = "DELETE FROM events WHERE run_id = ? AND seq >= ?"  # the end that somebody else wrote
            self._next_seq[run] += self._connection.execute(sql, [run, self._next_seq[run]]).rowcount

    def _insert_events(self, run: int, events: Sequence[Event], now: float) -> None:
        first = self._next_seq.get(run) or self._first_seq(run)
        rows = [
            {"run_id": run, "seq": first + index, "time": now, "type": kind, "data": data}
            for index, (kind, data) in enumerate(codec.encode(events))
        ]
        insert(self._connection, "events", rows)
        self._next_seq[run] = first + len(rows)

    def _create(self, new: NewRun, experiment: int) -> int:
        if new.name is not None:
            self._require_free(new.name)
        placeholder = f"\0{os.getpid()}-{time.time_ns()}"  # unique until the number is known
        row = {
            "experiment": experiment,
            "name": new.name or placeholder,
            "method": new.method,
            "seed": new.seed,
            "preset": new.preset,
            "status": "queued",
            "config": new.config,
            "record": json_of(new.record),
            "created": time.time(),
            "heartbeat": time.time(),
            **this_process(),
        }
        run = insert_run(self._connection, row)
        if new.name is None:
            name = f"{new.method}-{run}"
            while self._connection.execute("SELECT 1 FROM runs WHERE name = ?", [name]).fetchone():
                name += "'"
            update_run(self._connection, run, {"name": name})
        insert(self._connection, "tags", [{"run_id": run, "tag": tag} for tag in dict.fromkeys(new.tags)])
        return run

    def _require_free(self, name: str) -> None:
        taken = self._connection.execute("SELECT id FROM runs WHERE name = ?", [name]).fetchone()
        if taken:
            raise StoreError(f"the name {name!r} is taken by run {taken[0]}: choose another with --name")

    def _first_seq(self, run: int) -> int:
        query = "SELECT coalesce(max(seq), 0) + 1 FROM events WHERE run_id = ?"
        return int(self._connection.execute(query, [run]).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a transaction, taking the write lock at once so that two writers wait for each other and never fail."""
        with self._turn, explaining(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it too
                    self._connection.execute("ROLLBACK")
                raise


def _times(state: RunState, now: float, *, starts: bool) -> dict[str, float]:
    """Return the columns of `runs` that hold its times."""
    times = {"heartbeat": now}
    if starts:
        times["started"] = now
    if state.status not in LIVE:
        times["ended"] = now
    return times


def _summary(state: RunState) -> dict[str, Any]:
    """Return the columns of `runs` that follow from the events."""
    figures = {column.name: metric.value(state, {}) for column, metric in STORED}
    return {"status": state.status, "error": state.error, "seconds": state.seconds, **figures}


def _result(run: int, event: Measured) -> dict[str, Any]:
    return {
        "run_id": run,
        "stage": event.stage,
        "name": event.name,
        "split": event.split,
        "token_set": event.token_set,
        "tokens": event.tokens,
        "loss": event.loss,
        "accuracy": event.accuracy,
        "shallow_ratio": event.shallow_ratio,
        "layer_savings": event.layer_savings,
        **{name: array("f", values).tobytes() if (values := getattr(event, name)) else None for name in WINDOW_COLUMNS},
    }


def _block_tokens(run: int, event: TokensMeasured) -> dict[str, Any]:
    packed = {name: zlib.compress(getattr(event, name)) for name in TOKEN_COLUMNS}
    return {"run_id": run, "block": event.block, **packed}
