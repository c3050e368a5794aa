"""The bin: runs that were deleted, and can be restored until a writer empties it of those that are too old.

A run in the bin keeps everything but its name, which is free for others at once; when it is restored it gets the name
back, or one like it where that is taken by then. Its weights go when the bin is emptied.
"""

import sqlite3
import time

from core.errors import RunLookupError, StoreError
from core.store.new_runs import free_name, owner_of

KEPT_DAYS = 30
_DAY = 86_400.0


def put_in_bin(connection: sqlite3.Connection, run: int) -> None:
    """Move a run into the bin.

    Raises:
        StoreError: it is live.
        RunLookupError: there is none, or it is in the bin already.
    """
    query = "SELECT name, status FROM runs WHERE id = ? AND id NOT IN (SELECT run_id FROM bin)"
    name, status = connection.execute(query, [run]).fetchone() or (None, None)
    if name is None:
        raise RunLookupError(f"there is no run {run} any more: another process deleted it meanwhile")
    if status in ("queued", "running"):
        raise StoreError(f"{name} (run {run}) is {status}: stop it first, then delete it")
    connection.execute("INSERT INTO bin (run_id, name, deleted) VALUES (?, ?, ?)", [run, name, time.time()])
    connection.execute("UPDATE runs SET name = ? WHERE id = ?", [f"\0bin-{run}", run])


def take_out_of_bin(connection: sqlite3.Connection, run: int) -> str:
    """Restore a run; its name, which is another where its own was given away meanwhile.

    Raises:
        RunLookupError: it is not in the bin.
    """
    row = connection.execute("SELECT name FROM bin WHERE run_id = ?", [run]).fetchone()
    if row is None:
        raise RunLookupError(f"run {run} is not in the bin: eetui ls --deleted lists what is")
    name = str(row[0])
    if owner_of(connection, name) is not None:
        name = free_name(connection, f"{name}-{run}")
    connection.execute("UPDATE runs SET name = ? WHERE id = ?", [name, run])
    connection.execute("DELETE FROM bin WHERE run_id = ?", [run])
    return name


def too_long_in_bin(connection: sqlite3.Connection) -> list[int]:
    """Return the runs that have been in the bin for longer than `KEPT_DAYS`."""
    query = "SELECT run_id FROM bin WHERE deleted < ? ORDER BY run_id"
    return [row[0] for row in connection.execute(query, [time.time() - KEPT_DAYS * _DAY]).fetchall()]
