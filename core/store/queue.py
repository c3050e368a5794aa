"""The queue of runs that wait for a worker, in the database, so that it outlives every process.

A run stays in it from when it is added until it has finished or failed, or is dropped. One that nobody has taken is no
process's; one whose worker is gone, or was told to stop, is there to be taken again. Runs of a sweep are in a queue of
their own.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError
from core.events import RunInterrupted
from core.store.liveness import GONE, IS_LIVE, Liveness
from core.store.lock import trainer_of
from core.store.reader import Reader
from core.store.writer import Writer

MOST_DEATHS = 3
"""Workers that may die on a run before it is given up."""
ENDED = ("finished", "failed")
"""Statuses of runs that nothing is left to do of; those that were trained outside of the queue still have a place."""
TAKEN_OUT = "taken out of the queue"
DIED = f"{MOST_DEATHS} workers died on it; eetui resume tries again"

IsReady = Callable[[str], bool]
_LANE = "queue.sweep_id IS ? AND runs.id NOT IN (SELECT run_id FROM bin)"


def enqueue(
    connection: sqlite3.Connection, runs: Sequence[int], origins: Sequence[str], sweep: int | None = None
) -> None:
    """Put new or interrupted runs at the end of the queue, in an open transaction; they are nobody's from then on.

    Args:
        origins: key of each run's first stage; runs with the same can share it.
    """
    last = connection.execute("SELECT coalesce(max(place), 0) FROM queue").fetchone()[0]
    for place, (run, origin) in enumerate(zip(runs, origins, strict=True), start=1):
        connection.execute(
            "INSERT INTO queue (run_id, sweep_id, place, origin) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (run_id) DO UPDATE SET deaths = 0",
            [run, sweep, last + place, origin],
        )
        connection.execute(
            "UPDATE runs SET status = 'queued', error = NULL, pid = NULL, host = NULL, process = NULL, "
            f"heartbeat = NULL WHERE id = ? AND NOT {IS_LIVE}",
            [run],
        )
        connection.execute(
            "UPDATE runs SET pid = NULL, host = NULL, process = NULL WHERE id = ? AND started IS NULL", [run]
        )


def take(store: Writer, sweep: int | None, is_ready: IsReady, like: str = "") -> tuple[int, str] | None:
    """Take a run from the queue, or from that of a sweep, for this process.

    First come runs that were begun; then those that share the first stage of the last one, those whose first stage is
    there or in nobody's hands, and at last those that have to wait for it.

    Args:
        is_ready: whether a first stage is there, by its key.
        like: key of the first stage of the run before.

    Returns:
        The run and the key of its first stage; None if nothing is left to take.
    """
    origins: dict[int, str] = {}

    def choose(connection: sqlite3.Connection) -> int | None:
        busy, begun = _begun(connection, sweep)
        query = (
            "SELECT queue.run_id, queue.origin, min(queue.place) FROM queue JOIN runs ON runs.id = queue.run_id "
            f"WHERE {_LANE} AND runs.status = 'queued' AND runs.pid IS NULL GROUP BY queue.origin ORDER BY min(place)"
        )
        waiting = [_Waiting(run, origin) for run, origin, _ in connection.execute(query, [sweep]).fetchall()]

        def order(one: _Waiting) -> int:
            return 0 if one.origin == like else 1 if one.origin not in busy or is_ready(one.origin) else 2

        for one in [*begun, *sorted(waiting, key=order)]:
            if trainer_of(store.path, one.run) is None and _survives(connection, one):
                origins[one.run] = one.origin
                return one.run
        return None

    taken = store.take(choose)
    return None if taken is None else (taken, origins[taken])


def take_run(store: Writer, run: int) -> bool:
    """Take one run, wherever it waits, for this process; False if it has come to its end already.

    Raises:
        UsageError: another process holds it.
    """

    def choose(connection: sqlite3.Connection) -> int | None:
        status = connection.execute("SELECT status FROM runs WHERE id = ?", [run]).fetchone()[0]
        if status in ENDED:
            return None
        _require_nobodys(store, connection, run)
        return run

    return store.take(choose) is not None


def leave(store: Writer, run: int) -> None:
    """Take a run that has come to its end out of the queue."""
    with store.transaction() as connection:
        connection.execute("DELETE FROM queue WHERE run_id = ?", [run])


def drop(store: Writer, runs: Sequence[int], reason: str = TAKEN_OUT) -> None:
    """Take runs that nobody holds out of the queue; they are interrupted, for that reason.

    Raises:
        UsageError: a process holds one of them; nothing is changed.
    """
    with store.transaction() as connection:
        for run in runs:
            _require_nobodys(store, connection, run)
        connection.executemany("DELETE FROM queue WHERE run_id = ?", [[run] for run in runs])
    for run in runs:
        store.end(run, RunInterrupted(reason, 0.0))


def move(store: Writer, run: int, place: int) -> None:
    """Move a run of the queue to a place in it, counted from 1.

    Raises:
        UsageError: it is not in the queue.
    """
    with store.transaction() as connection:
        query = (
            "SELECT queue.run_id FROM queue JOIN runs ON runs.id = queue.run_id "
            f"WHERE {_LANE} AND runs.status NOT IN {ENDED} ORDER BY queue.place"
        )
        order = [row[0] for row in connection.execute(query, [None])]
        if run not in order:
            raise UsageError(f"run {run} is not in the queue: eetui queue list shows what is")
        order.remove(run)
        order.insert(min(place, len(order) + 1) - 1, run)
        places = [(number, one) for number, one in enumerate(order, start=1)]
        connection.executemany("UPDATE queue SET place = ? WHERE run_id = ?", places)


def queued(reader: Reader, sweep: int | None = None) -> list[dict[str, Any]]:
    """Return number, name, method, seed and status of the runs in the queue, or in that of a sweep, in their order."""
    return reader.select(
        "SELECT runs.id, name, method, seed, status, runs.pid, runs.host FROM queue JOIN runs ON runs.id = run_id "
        f"WHERE sweep_id IS ? AND status NOT IN {ENDED} ORDER BY place",
        [sweep],
    )


def waiting(reader: Reader, sweep: int | None = None) -> list[int]:
    """Return the runs in the queue, or in that of a sweep, that nobody trains."""
    return [row["id"] for row in queued(reader, sweep) if row["pid"] is None or row["status"] == "interrupted"]


@dataclass(frozen=True)
class _Waiting:
    """A run that can be taken; `deaths` counts the workers that died on it, the last one too."""

    run: int
    origin: str
    deaths: int = 0


def _require_nobodys(store: Writer, connection: sqlite3.Connection, run: int) -> None:
    """Refuse a run that a process trains, or has taken to train.

    Raises:
        UsageError: one has.
    """
    if trainer := trainer_of(store.path, run):
        raise UsageError(f"run {run} is in training by {trainer}: wait for it, or stop it there first")
    query = f"SELECT pid, host, process, coalesce(heartbeat, created) FROM runs WHERE id = ? AND {IS_LIVE}"
    owner = connection.execute(query, [run]).fetchone()
    if owner and owner[0] is not None and not Liveness().is_gone(*owner):
        raise UsageError(f"run {run} is held by process {owner[0]} on {owner[1]}: stop it there first")


def _begun(connection: sqlite3.Connection, sweep: int | None) -> tuple[set[str], list[_Waiting]]:
    """Return the first stages of the runs in training, and the runs that were begun and are nobody's any more."""
    liveness, busy, begun = Liveness(), set[str](), list[_Waiting]()
    query = (
        "SELECT queue.run_id, queue.origin, queue.deaths, runs.status, runs.error, runs.pid, runs.host, runs.process, "
        "coalesce(runs.heartbeat, runs.created) FROM queue JOIN runs ON runs.id = queue.run_id "
        f"WHERE {_LANE} AND (runs.pid IS NOT NULL OR runs.status = 'interrupted') "
        "AND runs.status IN ('queued', 'running', 'interrupted') ORDER BY queue.place"
    )
    for run, origin, deaths, status, error, *owner in connection.execute(query, [sweep]).fetchall():
        if status != "interrupted" and not liveness.is_gone(*owner):
            busy.add(origin)
        else:
            told_to_stop = status == "interrupted" and error != GONE
            begun.append(_Waiting(run, origin, 0 if told_to_stop else deaths + 1))
    return busy, begun


def _survives(connection: sqlite3.Connection, one: _Waiting) -> bool:
    """Count the death of a run's last worker; give the run up if there were too many."""
    if one.deaths >= MOST_DEATHS:
        connection.execute("DELETE FROM queue WHERE run_id = ?", [one.run])
        connection.execute("UPDATE runs SET status = 'interrupted', error = ? WHERE id = ?", [DIED, one.run])
        return False
    if one.deaths:
        connection.execute("UPDATE queue SET deaths = ? WHERE run_id = ?", [one.deaths, one.run])
    return True
