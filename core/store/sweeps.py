"""The writing side of sweeps in the store: what each varies, the runs that it has, and the stages that these share."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import StoreError
from core.store.files import delete_search
from core.store.new_runs import NewRun
from core.store.queue import enqueue
from core.store.stored_sweeps import PRUNED
from core.store.writer import Writer


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
