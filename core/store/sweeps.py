"""Sweeps in the store: what each varies, the runs that it has, and the stages that these share."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.messages import shortened
from core.errors import RunLookupError, StoreError
from core.metrics import STORED
from core.store.files import delete_search
from core.store.liveness import IS_LIVE, this_process
from core.store.queue import enqueue
from core.store.reader import Reader
from core.store.writer import NewRun, Writer

FIGURES = tuple(column.name for column, _ in STORED)
PRUNED = "pruned:"
"""Beginning of the error of an interrupted run that a search has given up; it is not put into the queue again."""


@dataclass(frozen=True)
class Cell:
    """A run of a sweep before it is stored.

    Attributes:
        point: number of its combination of values.
        setting: the values, by dotted name.
        stages: keys of the stages that it shares with other runs, by name.
        origin: key of its first stage.
    """

    run: NewRun
    point: int
    setting: Mapping[str, Any]
    stages: Mapping[str, str]
    origin: str


@dataclass(frozen=True)
class StoredSweep:
    """A sweep as it is stored; `spec` is a `core.sweeps.spec.Spec` as plain values."""

    number: int
    name: str
    spec: dict[str, Any]
    created: float


def create_sweep(store: Writer, name: str, spec: Mapping[str, Any], cells: Sequence[Cell]) -> int:
    """Store a sweep with its runs, which wait in its queue; return its number.

    Raises:
        StoreError: its name or that of a run is taken; nothing is stored.
    """
    found: list[int] = []

    def also(connection: sqlite3.Connection, numbers: list[int]) -> None:
        if connection.execute("SELECT 1 FROM sweeps WHERE name = ?", [name]).fetchone():
            raise StoreError(f"there is a sweep {name!r} already: eetui sweep resume {name}, or another --name")
        row = [name, json.dumps(spec), time.time()]
        sweep = connection.execute("INSERT INTO sweeps (name, spec, created) VALUES (?, ?, ?)", row).lastrowid
        assert sweep is not None
        found.append(sweep)
        delete_search(store.path, sweep)  # left behind by another database of this name
        _insert_cells(connection, sweep, numbers, cells)

    store.create_experiment([cell.run for cell in cells], also)
    return found[0]


def add_cells(store: Writer, sweep: int, cells: Sequence[Cell], spec: Mapping[str, Any] | None = None) -> list[int]:
    """Add runs to a sweep, which wait in its queue, and store what it varies now; return their numbers."""

    def also(connection: sqlite3.Connection, numbers: list[int]) -> None:
        _insert_cells(connection, sweep, numbers, cells)
        if spec is not None:
            _set_spec(connection, sweep, spec)

    with store.transaction() as connection:
        query = "SELECT min(experiment) FROM runs JOIN sweep_cells ON run_id = id WHERE sweep_id = ?"
        experiment = connection.execute(query, [sweep]).fetchone()[0]
    return store.create_experiment([cell.run for cell in cells], also, experiment)


def update_spec(store: Writer, sweep: int, spec: Mapping[str, Any]) -> None:
    """Store what a sweep varies now."""
    with store.transaction() as connection:
        _set_spec(connection, sweep, spec)


def wait_again(store: Writer, sweep: int, *, failed: bool = True) -> list[int]:
    """Put the runs of a sweep that were interrupted into its queue again; return their numbers.

    Args:
        failed: whether to do so with those that failed, too.
    """
    with store.transaction() as connection:
        query = (
            "SELECT id, origin FROM runs JOIN sweep_cells ON run_id = id "
            f"WHERE sweep_id = ? AND (status = 'interrupted' AND error NOT LIKE '{PRUNED}%' "
            "OR status = 'failed' AND ?) "
            "AND id NOT IN (SELECT run_id FROM bin) "
            "ORDER BY point, seed"
        )
        rows = connection.execute(query, [sweep, failed]).fetchall()
        enqueue(connection, [row[0] for row in rows], [row[1] for row in rows], sweep)
    return [row[0] for row in rows]


def delete_sweep(store: Writer, sweep: int) -> list[str]:
    """Delete a sweep, but none of its runs; return the keys of the stages that no other sweep shares."""
    with store.transaction() as connection:
        mine, others = (
            {key for (text,) in connection.execute(query, [sweep]) for key in json.loads(text).values()}
            for query in (
                "SELECT stages FROM sweep_cells WHERE sweep_id = ?",
                "SELECT stages FROM sweep_cells WHERE sweep_id <> ?",
            )
        )
        connection.execute("DELETE FROM sweeps WHERE id = ?", [sweep])
    return sorted(mine - others)


def find_sweep(reader: Reader, reference: str) -> StoredSweep:
    """Return the sweep of a number or a name.

    Raises:
        RunLookupError: there is none.
    """
    number = int(reference) if reference.isdecimal() and len(reference) < 19 else -1
    rows = reader.select(
        "SELECT * FROM sweeps WHERE name = ? OR id = ? ORDER BY name <> ?", [reference, number, reference]
    )
    if not rows:
        raise RunLookupError(
            f"there is no sweep {shortened(reference)!r} in {reader.path}: eetui sweep list shows them"
        )
    return StoredSweep(rows[0]["id"], rows[0]["name"], json.loads(rows[0]["spec"]), rows[0]["created"])


def list_sweeps(reader: Reader) -> list[dict[str, Any]]:
    """Return number, name, time and the number of runs by status of every sweep, the newest last."""
    rows = reader.select(
        "SELECT sweeps.id, sweeps.name, sweeps.created, status, count(runs.id) AS runs FROM sweeps "
        "LEFT JOIN sweep_cells ON sweep_id = sweeps.id LEFT JOIN runs ON runs.id = run_id "
        "GROUP BY sweeps.id, status ORDER BY sweeps.id"
    )
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["id"], {name: row[name] for name in ("id", "name", "created")} | {"runs": {}})
        if row["status"] is not None:
            one["runs"][row["status"]] = row["runs"]
    return list(found.values())


def cells_of(reader: Reader, sweep: int) -> list[dict[str, Any]]:
    """Return the runs of a sweep by point and seed: `point`, `setting`, number, name, status, error and figures."""
    rows = reader.select(
        f"SELECT point, setting, id, name, method, seed, status, error, seconds, {', '.join(FIGURES)} "
        "FROM sweep_cells JOIN runs ON id = run_id WHERE sweep_id = ? ORDER BY point, seed",
        [sweep],
    )
    return [{**row, "setting": json.loads(row["setting"])} for row in rows]


def held(reader: Reader, sweep: int) -> list[dict[str, Any]]:
    """Return number, name, pid and host of the runs of a sweep that another process trains, or has taken to train."""
    own = this_process()
    return reader.select(
        "SELECT id, name, runs.pid, runs.host FROM sweep_cells JOIN runs ON id = run_id WHERE sweep_id = ? AND "
        f"{IS_LIVE} AND runs.pid IS NOT NULL AND NOT (runs.pid = ? AND runs.host = ?) ORDER BY point, seed",
        [sweep, own["pid"], own["host"]],
    )


def has_run_of(reader: Reader, sweep: int, pid: int) -> bool:
    """Whether a process of this machine is the last one that took one of a sweep's runs."""
    query = "SELECT 1 AS found FROM sweep_cells JOIN runs ON id = run_id WHERE sweep_id = ? AND pid = ? AND host = ?"
    return bool(reader.select(query, [sweep, pid, this_process()["host"]]))


def trial_of(reader: Reader, run: int) -> list[dict[str, Any]]:
    """Return number, seed, status, error and point of the runs that share a run's combination of values, by seed."""
    return reader.select(
        "SELECT id, seed, status, error, other.point FROM sweep_cells AS own "
        "JOIN sweep_cells AS other ON other.sweep_id = own.sweep_id AND other.point = own.point "
        "JOIN runs ON id = other.run_id WHERE own.run_id = ? ORDER BY seed",
        [run],
    )


def is_pruned(cell: Mapping[str, Any]) -> bool:
    """Whether a run of a sweep (`cells_of`) was given up by its search."""
    return str(cell["error"] or "").startswith(PRUNED)


def _set_spec(connection: sqlite3.Connection, sweep: int, spec: Mapping[str, Any]) -> None:
    connection.execute("UPDATE sweeps SET spec = ? WHERE id = ?", [json.dumps(spec), sweep])


def _insert_cells(connection: sqlite3.Connection, sweep: int, numbers: Sequence[int], cells: Sequence[Cell]) -> None:
    rows = [
        (number, sweep, cell.point, json.dumps(dict(cell.setting)), cell.origin, json.dumps(dict(cell.stages)))
        for number, cell in zip(numbers, cells, strict=True)
    ]
    sql = "INSERT INTO sweep_cells (run_id, sweep_id, point, setting, origin, stages) VALUES (?, ?, ?, ?, ?, ?)"
    connection.executemany(sql, rows)
    enqueue(connection, numbers, [cell.origin for cell in cells], sweep)
