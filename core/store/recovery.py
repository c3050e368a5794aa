"""Recovery of a damaged database: what can still be read goes into a new one, and the damaged one is left alone."""

import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.errors import DamagedError
from core.store import codec
from core.store.files import carry_checkpoint, log_file, real_path
from core.store.identity import HEADER_BYTES, MAGIC
from core.store.opening import connect_to_write, explaining
from core.store.place import free_name
from core.store.schema import TOKEN_COLUMNS
from core.store.writer import Writer

KEYS = {
    "runs": "rowid", "events": "seq", "results": "rowid", "tags": "run_id", "notes": "rowid",
    "token_statistics": "rowid", "texts": "rowid", "bin": "rowid",
    "sweeps": "rowid", "sweep_cells": "rowid", "queue": "rowid",
}  # fmt: skip
"""The tables in the order of recovery, each with the integer that its rows are looked for by."""
CHUNK, MOST_FAILURES, UNKNOWN_END = 1000, 50_000, 20_000
"""Keys read at a time, reads of a table that may fail, and the last key assumed where it can't be read."""

PAGES, VALID_FOR = slice(28, 32), slice(92, 96)
"""Where a header has the number of pages, and the change that this number is valid for."""

Rows = list[dict[str, Any]]


@dataclass
class Recovered:
    """What became of a damaged database.

    Attributes:
        target: the new database.
        saved: rows by table.
        dropped: rows by table that could be read, but do not hold what they must.
        unreadable: tables of which parts could not be read.
        runs: runs that are in the new database.
    """

    target: Path
    saved: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    runs: int = 0


def recover(path: Path) -> Recovered:
    """Write what can be read of a database into a new one beside it, with the weights of its runs.

    Raises:
        DamagedError: nothing can be read of it.
        StoreError: the new one can't be written.
    """
    file = real_path(path)
    target = free_name(file, "repaired")
    recovered = Recovered(target)
    with explaining(target), TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        copy = _copied(file, Path(folder))
        with closing(sqlite3.connect(copy, isolation_level=None)) as old, closing(connect_to_write(target)) as new:
            old.execute("PRAGMA writable_schema = ON")  # else what is truncated is refused as a whole
            new.execute("PRAGMA foreign_keys = OFF")
            new.execute("BEGIN IMMEDIATE")
            for table in KEYS:
                _recover_table(old, new, table, recovered)
            new.execute("COMMIT")
            runs = [row[0] for row in new.execute("SELECT id FROM runs")]
    recovered.runs = len(runs)
    if not runs:
        target.unlink()
        raise DamagedError(f"nothing can be read of {path} any more: take a copy of it from elsewhere, if there is one")
    for run in runs:
        carry_checkpoint(file, target, run)
    Writer(target).close()  # closes the books of runs whose process is gone
    return recovered


def _copied(file: Path, folder: Path) -> Path:
    """Copy a database with its log; a header that is overwritten is replaced by what ours have."""
    copy = folder / "copy.db"
    shutil.copyfile(file, copy)
    with suppress(OSError):
        shutil.copyfile(log_file(file), log_file(copy))
    with open(copy, "r+b") as opened:
        if not opened.read(HEADER_BYTES).startswith(MAGIC):
            opened.seek(0)
            opened.write(_fresh_header(folder))
            opened.seek(PAGES.start)
            opened.write(bytes(PAGES.stop - PAGES.start))  # as many as the file has
            opened.seek(VALID_FOR.start)
            opened.write(b"\xff" * (VALID_FOR.stop - VALID_FOR.start))
    return copy


def _fresh_header(folder: Path) -> bytes:
    connect_to_write(folder / "fresh.db").close()
    return (folder / "fresh.db").read_bytes()[:HEADER_BYTES]


def _recover_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str, recovered: Recovered) -> None:
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    with suppress(sqlite3.DatabaseError):
        there = {row[1] for row in old.execute(f"PRAGMA table_info({table})")}
        columns = [name for name in columns if name in there]
    if not columns:
        return
    sql = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    runs = {row[0] for row in new.execute("SELECT id FROM runs")}
    saved = dropped = 0
    for rows in _read(old, table, columns, sorted(runs), recovered):
        sound = [row for row in rows if _is_sound(table, row) and row.get("run_id") in {None, *runs}]
        before = new.total_changes
        for row in sound:
            with suppress(sqlite3.IntegrityError):  # a column is empty that must not be
                new.execute(sql, list(row.values()))
        saved += new.total_changes - before
        dropped += len(rows) - (new.total_changes - before)
    recovered.saved[table] = saved
    if dropped:
        recovered.dropped[table] = dropped


def _read(
    old: sqlite3.Connection, table: str, columns: Sequence[str], runs: Sequence[int], recovered: Recovered
) -> Iterator[Rows]:
    """Yield a table's rows; of a range of keys that can't be read each half is tried, down to single rows."""
    key = KEYS[table]
    failures = 0
    query = f"SELECT {', '.join(columns)} FROM {table} WHERE {key} BETWEEN ? AND ?"
    parts: list[tuple[str, list[int]]] = [(query, [])]
    if key == "seq":
        parts = [(f"{query} AND run_id = ?", [run]) for run in runs]
    for sql, more in parts:
        last = _last_key(old, table, key, more)
        ranges = [(first, min(first + CHUNK - 1, last)) for first in range(0, last + 1, CHUNK)][::-1]
        while ranges and failures < MOST_FAILURES:
            low, high = ranges.pop()
            try:
                single = " LIMIT 1" if low == high and key != "run_id" else ""  # which looks no further
                found = old.execute(sql + single, [low, high, *more]).fetchall()
            except sqlite3.DatabaseError:
                failures += 1
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)] if low < high else []
            else:
                yield [dict(zip(columns, row, strict=True)) for row in found]
    if failures:
        recovered.unreadable.append(table)


def _last_key(old: sqlite3.Connection, table: str, key: str, run: list[int]) -> int:
    try:
        sql = f"SELECT coalesce(max({key}), 0) FROM {table}" + (" WHERE run_id = ?" if run else "")
        return int(old.execute(sql, run).fetchone()[0])
    except sqlite3.DatabaseError:
        return UNKNOWN_END


def _is_sound(table: str, row: dict[str, Any]) -> bool:
    """Tell whether a row holds what it must for readers to read it."""
    try:
        match table:
            case "runs":
                return all(isinstance(json.loads(row[name]), dict) for name in ("config", "record"))
            case "events":
                codec.checked((row["type"], row["data"]))
            case "token_statistics":
                return all(zlib.decompress(row[name]) is not None for name in TOKEN_COLUMNS)
            case "texts":
                json.loads(zlib.decompress(row["vocabulary"]))
                return len(zlib.decompress(row["stream"])) % 4 == 0
    except (ValueError, TypeError, RecursionError, zlib.error, codec.UnreadableError):
        return False
    return True
