"""Which process holds a run, in a transaction of the writer's."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import LostRunError, StoreError
from core.store.liveness import IS_HELD, IS_LIVE, Liveness, this_process
from core.store.lock import trainer_of
from core.store.rows import update_run

IS_OURS = "pid = ? AND host = ? AND process = ?"
"""Condition of SQL, with the values of `this_process`."""


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


def hold(connection: sqlite3.Connection, run: int) -> None:
    """Make a run this process's, to be trained from where it stands."""
    fresh = dict.fromkeys(("error", "seconds", "started", "ended"))
    update_run(connection, run, {**fresh, "status": "queued", "heartbeat": time.time(), **this_process()})


def require_resumable(connection: sqlite3.Connection, path: Path, run: int) -> None:
    """Refuse to resume a run that is not there to be resumed.

    Raises:
        StoreError: it is live, finished, gone, or in training by another process.
    """
    query = (
        "SELECT 1 FROM runs WHERE id = ? AND status IN ('interrupted', 'failed') AND id NOT IN (SELECT run_id FROM bin)"
    )
    if not connection.execute(query, [run]).fetchone():
        raise StoreError(f"run {run} can't be resumed: another process resumed or deleted it meanwhile")
    if trainer := trainer_of(path, run):
        raise StoreError(f"run {run} can't be resumed: {trainer} is training it; stop it there first")


def require_own(connection: sqlite3.Connection, path: Path, run: int) -> str:
    """Refuse to write of a run that another process holds; return its status.

    Raises:
        LostRunError: another process holds it, or it is gone.
    """
    query = "SELECT pid, host, process, status FROM runs WHERE id = ?"
    *owner, status = connection.execute(query, [run]).fetchone() or (None, None, None, None)
    if status is None:
        raise LostRunError(f"run {run} was deleted from {path} while it was in training")
    if owner != [*this_process().values()]:
        raise LostRunError(f"run {run} was resumed by process {owner[0]} on {owner[1]} while it was in training")
    return str(status)


def claimed(connection: sqlite3.Connection, run: int) -> Claimed:
    """Return what is stored of a run that is about to be trained."""
    query = "SELECT created, record, stages FROM runs LEFT JOIN sweep_cells ON run_id = id WHERE id = ?"
    created, record, stages = connection.execute(query, [run]).fetchone()
    return Claimed(float(created), json.loads(record), json.loads(stages or "{}"))


def own_runs(connection: sqlite3.Connection, *, live: bool, unfinished: bool) -> list[int]:
    """Return the runs that this process holds or held, or only those that are live, or did not finish.

    Deleted ones are not among them.
    """
    chosen = IS_LIVE if live else "status <> 'finished'" if unfinished else "1"
    query = f"SELECT id FROM runs WHERE {IS_OURS} AND {chosen} AND id NOT IN (SELECT run_id FROM bin) ORDER BY id"
    return [row[0] for row in connection.execute(query, [*this_process().values()]).fetchall()]


def beat(connection: sqlite3.Connection, runs: Sequence[int]) -> None:
    """Note that this process still holds these runs."""
    connection.executemany(
        f"UPDATE runs SET heartbeat = ? WHERE id = ? AND {IS_OURS} AND {IS_LIVE}",
        [(time.time(), run, *this_process().values()) for run in runs],
    )


def abandoned(connection: sqlite3.Connection) -> list[int]:
    """Return the runs that are queued or running, but whose process no longer exists."""
    liveness = Liveness()
    query = f"SELECT id, pid, host, process, coalesce(heartbeat, created) FROM runs WHERE {IS_HELD}"
    return [run for run, *owner in connection.execute(query).fetchall() if liveness.is_gone(*owner)]
