"""The reading side of sweeps: what each varies, its runs and how they stand. Nothing is imported that writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.messages import near_name, shortened
from core.errors import RunLookupError
from core.metrics import STORED
from core.store.liveness import IS_LIVE, this_process
from core.store.reader import Reader

FIGURES = tuple(column.name for column, _ in STORED)
NEAR = 1_000
"""Newest sweeps among whose names a mistyped one is looked for."""
PRUNED = "pruned:"
"""Beginning of the error of an interrupted run that a search has given up; it is not put into the queue again."""

WINDOWS = (
    "json_array(json_extract(record, '$.fingerprint'), json_extract(config, '$.data.seq_len', '$.data.bos_token'), "
    "(SELECT max(tokens) FROM results WHERE run_id = id AND results.name = 'early exit'))"
)
"""Identity of a run's evaluation windows: text, length and number."""


@dataclass(frozen=True)
class StoredSweep:
    """A sweep as it is stored; `spec` is a `core.sweeps.spec.Spec` as plain values."""

    number: int
    name: str
    spec: dict[str, Any]
    created: float


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
        near = near_name(reference, [row["name"] for row in newest_sweeps(reader, NEAR)])
        raise RunLookupError(
            f"there is no sweep {shortened(reference)!r} in {reader.path}: eetui sweep list shows them{near}"
        )
    return _stored(rows[0])


def whole_sweeps(reader: Reader, runs: Sequence[int]) -> list[StoredSweep]:
    """Return the sweeps all of whose runs, deleted ones aside, are among those, the oldest first."""
    rows = reader.select(
        "SELECT sweeps.* FROM sweeps JOIN sweep_cells ON sweep_id = sweeps.id "
        "JOIN runs ON runs.id = run_id GROUP BY sweeps.id "
        "HAVING min(run_id IN (SELECT value FROM json_each(?))) ORDER BY sweeps.id",
        [json.dumps(list(runs))],
    )
    return [_stored(row) for row in rows]


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


def newest_sweeps(reader: Reader, limit: int) -> list[dict[str, Any]]:
    """Return number and name of the newest sweeps, the newest first; nothing of their runs is read."""
    return reader.select("SELECT id, name FROM sweeps ORDER BY id DESC LIMIT ?", [limit])


def count_standings(reader: Reader, sweep: int) -> dict[str, int]:
    """Count the runs of a sweep by status; those that its search has given up are `pruned`."""
    rows = reader.select(
        f"SELECT CASE WHEN status = 'interrupted' AND error LIKE '{PRUNED}%' THEN 'pruned' ELSE status END "
        "AS standing, "
        "count(*) AS runs FROM sweep_cells JOIN runs ON runs.id = run_id WHERE sweep_id = ? GROUP BY standing",
        [sweep],
    )
    return {row["standing"]: row["runs"] for row in rows}


def cells_of(reader: Reader, sweep: int, *, windows: bool = False) -> list[dict[str, Any]]:
    """Return the runs of a sweep by point and seed: `point`, `setting`, number, name, status, error and figures.

    Args:
        windows: whether to add `windows`, the identity of the evaluation windows, as what is varied changes them.
    """
    identity = f", {WINDOWS} AS windows" if windows else ""
    rows = reader.select(
        f"SELECT point, setting, id, name, method, seed, status, error, seconds, {', '.join(FIGURES)}{identity} "
        "FROM sweep_cells JOIN runs ON id = run_id WHERE sweep_id = ? ORDER BY point, seed",
        [sweep],
    )
    settings: dict[str, dict[str, Any]] = {}  # the seeds of a combination share one
    for row in rows:
        text = row["setting"]
        row["setting"] = settings[text] if text in settings else settings.setdefault(text, json.loads(text))
    return rows


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


def _stored(row: Mapping[str, Any]) -> StoredSweep:
    return StoredSweep(row["id"], row["name"], json.loads(row["spec"]), row["created"])


def is_pruned(cell: Mapping[str, Any]) -> bool:
    """Whether a run of a sweep (`cells_of`) was given up by its search."""
    return str(cell["error"] or "").startswith(PRUNED)
