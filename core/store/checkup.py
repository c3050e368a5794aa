"""Checkup of a database; nothing is written, and torch is not needed."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.errors import EetuiError
from core.machine.file_system import file_system
from core.store import codec
from core.store.files import log_file, real_path
from core.store.identity import damage, require_ours, untouched
from core.store.opening import version


@dataclass(frozen=True)
class Finding:
    """A line of a checkup; `sound` is False for what needs to be looked after."""

    subject: str
    text: str
    sound: bool = True


def check_database(path: Path) -> Iterator[Finding]:
    """Yield how the file is, its log, its tables and the entries of its runs."""
    file = real_path(path)
    if not file.exists():
        yield Finding("database", f"{path} is not there yet")
        return
    log = log_file(file)
    size, waiting = file.stat().st_size, log.stat().st_size if log.exists() else 0
    yield Finding("database", f"{path}, {mib(size)}, {mib(waiting)} of log, on {file_system(file) or 'a file system'}")
    try:
        require_ours(file, path)
        with closing(untouched(file)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            yield Finding("schema", f"version {version(connection, path)}, journal mode {mode}")
            yield from _check_pages(connection, path)
            yield from _check_rows(connection)
    except EetuiError as error:
        yield Finding("database", str(error), sound=False)
    except sqlite3.Error as error:
        yield Finding("database", damage(path, str(error)), sound=False)


def mib(size: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{size / 2**20:,.1f} MiB"


def _check_pages(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if problems != ["ok"]:
        yield Finding("pages", damage(path, "; ".join(" ".join(problem.split()) for problem in problems)), sound=False)
        return
    orphans = len(connection.execute("PRAGMA foreign_key_check").fetchall())
    yield Finding("pages", "sound" if not orphans else f"{orphans} rows are of no run", sound=not orphans)


def _check_rows(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield how many runs there are, and what can't be read of each."""
    runs = connection.execute("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status").fetchall()
    yield Finding("runs", ", ".join(f"{count} {status}" for status, count in runs) or "none")
    for run, config, record in connection.execute("SELECT id, config, record FROM runs ORDER BY id"):
        bad = [name for name, text in (("config", config), ("record", record)) if not _is_mapping(text)]
        entries = connection.execute("SELECT seq, type, data FROM events WHERE run_id = ? ORDER BY seq", [run])
        bad += [f"entry {seq} ({kind})" for seq, kind, data in entries if not _is_entry(kind, data)]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            yield Finding("runs", f"run {run}: {', '.join(bad[:5])}{more} can't be read", sound=False)


def _is_mapping(text: object) -> bool:
    try:
        return isinstance(json.loads(text), dict)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return False


def _is_entry(kind: str, data: str) -> bool:
    try:
        codec.checked((kind, data))
    except codec.UnreadableError:
        return False
    return True
