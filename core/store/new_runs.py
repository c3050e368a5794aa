"""Runs as they are stored before they start, in a transaction of the writer's."""

import os
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from core.errors import StoreError
from core.store.liveness import this_process
from core.store.rows import insert, insert_run, update_run
from core.valid_json import json_of


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


def create_run(connection: sqlite3.Connection, new: NewRun, experiment: int) -> int:
    """Queue a run of an experiment in this process's name; its number.

    Raises:
        StoreError: its name is taken.
    """
    if new.name is not None:
        require_free(connection, new.name)
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
    run = insert_run(connection, row)
    if new.name is None:
        update_run(connection, run, {"name": free_name(connection, f"{new.method}-{run}")})
    insert(connection, "tags", [{"run_id": run, "tag": tag} for tag in dict.fromkeys(new.tags)])
    return run


def require_free(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a name that a run has.

    Raises:
        StoreError: it does.
    """
    owner = owner_of(connection, name)
    if owner is not None:
        raise StoreError(f"the name {name!r} is taken by run {owner}: choose another with --name")


def free_name(connection: sqlite3.Connection, name: str) -> str:
    """Return a name that no run has: that one, or with a prime or more behind it."""
    while owner_of(connection, name) is not None:
        name += "'"
    return name


def owner_of(connection: sqlite3.Connection, name: str) -> int | None:
    """Return the run that has a name; None if none has."""
    row = connection.execute("SELECT id FROM runs WHERE name = ?", [name]).fetchone()
    return None if row is None else int(row[0])
