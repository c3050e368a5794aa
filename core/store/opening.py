"""How a database is opened: checked to be ours, brought up to date, and read where it can't be written.

And what SQLite's errors say to a user.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import DamagedError, StoreError, UnwritableError
from core.machine.file_system import file_system, is_network
from core.store.files import real_path
from core.store.identity import APPLICATION_ID, damage, require_ours, untouched
from core.store.schema import LATEST_VERSION, READABLE_VERSION, SWEEP_TABLES, SWEEPS_VERSION, migrations

BUSY_SECONDS = 30
"""How long to wait for another process's transaction."""
SWITCH_SECONDS = 10
"""How long to wait for the moment alone that another journal mode needs."""
MAY_PASS = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
"""SQLite's codes for what may pass without anything being done to the database."""
REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""Those of them that, where a database is opened, speak of the wrong place."""


@contextmanager
def explaining(path: Path, *, opening: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into one that names the file and what to do.

    Args:
        opening: whether it is only being opened, so that one that can't be is the wrong one.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = UnwritableError if _may_pass(error, opening) else StoreError
        raise kind(_explanation(path, error)) from error
    except sqlite3.IntegrityError as error:
        raise StoreError(f"database {path}: {error}; was the run deleted meanwhile?") from error
    except sqlite3.ProgrammingError as error:
        raise StoreError(f"database {path} is closed: open it again to read on") from error
    except sqlite3.DatabaseError as error:
        raise DamagedError(damage(path, str(error))) from error


@contextmanager
def closed_by_errors(connection: sqlite3.Connection) -> Iterator[None]:
    """Close a connection if what is done with it first fails, which leaves nobody to close it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def connect_to_write(path: Path) -> sqlite3.Connection:
    """Open a database, which is created if it is missing, and bring it up to date; an older one is copied first.

    The connection is for threads that take turns.

    Raises:
        StoreError: it can't be opened or written, is not ours, or newer than this eetui.
    """
    file = real_path(path)
    require_ours(file, path)
    with explaining(path, opening=True):
        connection = _up_to_date(_connect(file, check_same_thread=False), path)
        with closed_by_errors(connection):
            if _number(connection, "application_id") != APPLICATION_ID:  # of an earlier version
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database; where it can be written it is brought up to date, and copied first if it is much older.

    Where it or its folder can't be written it is read as it stands, and an older one is brought up to date in memory.

    Raises:
        StoreError: it is missing, unreadable, not ours, or newer than this eetui.
    """
    if not path.exists():
        raise StoreError(f"there is no database {path}: train something first (eetui run), or name one with --db")
    file = real_path(path)
    require_ours(file, path)
    with explaining(path, opening=True):
        if _can_write(file):
            try:
                return _up_to_date(_connect(file), path, oldest=READABLE_VERSION)
            except sqlite3.OperationalError as error:
                if _code(error) not in REFUSED:
                    raise
        return _up_to_date_in_memory(untouched(file), path)


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Number of migrations applied.

    Raises:
        StoreError: the database is newer than this eetui.
        DamagedError: it has lost its tables.
    """
    applied = _number(connection, "user_version")
    if applied > LATEST_VERSION:
        raise StoreError(
            f"{path} was written by a newer eetui (schema {applied}, this one knows {LATEST_VERSION}): "
            f"upgrade eetui, or choose another database with --db"
        )
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if applied > 0 and "runs" not in tables:
        raise DamagedError(damage(path, "its tables are gone"))
    return applied


def write_ahead(connection: sqlite3.Connection, path: Path) -> str:
    """Switch to write-ahead logging, so that others read while this process writes, where the file system bears it.

    Returns:
        What to say where it does not: readers and training wait for each other then. Else nothing.
    """
    kind = file_system(real_path(path))
    mode = _switch(connection, "DELETE" if is_network(kind) else "WAL")
    if mode == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")
        return ""
    return (
        f"database {path} is on {kind or 'a file system'}, which is no place for a write-ahead log (journal mode "
        f"{mode} instead): training and those who read wait for each other"
    )


def _connect(file: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=check_same_thread)


def _up_to_date(connection: sqlite3.Connection, path: Path, oldest: int = LATEST_VERSION) -> sqlite3.Connection:
    """Bring a database up to date, unless it is; return its connection, which is closed if that does not work.

    Args:
        oldest: version from which it may stay as it is, with empty tables of this connection for those that it lacks.
    """
    with closed_by_errors(connection):
        connection.execute("PRAGMA foreign_keys = ON")
        applied = version(connection, path)
        if applied < oldest:
            _upgrade(connection, path)
        elif applied < SWEEPS_VERSION:
            for name, columns in SWEEP_TABLES.items():
                connection.execute(f"CREATE TEMP TABLE {name} ({columns})")
    return connection


def _up_to_date_in_memory(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Return a connection to a database that can't be written, or to an up-to-date copy of it if it is older."""
    with closed_by_errors(connection):
        if version(connection, path) == LATEST_VERSION:
            return connection
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with closed_by_errors(memory):
        with closing(connection):
            connection.backup(memory)
        _migrate(memory)
    return memory


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Apply what is pending, in one transaction, one process at a time."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = version(connection, path)
        if before < LATEST_VERSION:
            if before:
                file = real_path(path)
                _copy(file, file.with_name(f"{file.name}.backup-{before}"))
            _migrate(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database  # 40 ms, and 300 ms where pandas is installed

    migrations().apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {LATEST_VERSION}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _switch(connection: sqlite3.Connection, wanted: str) -> str:
    """Switch the journal mode, which needs a moment alone; return the mode that it is in then."""
    give_up = time.monotonic() + SWITCH_SECONDS
    while True:
        try:
            return str(connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
        except sqlite3.OperationalError as error:
            if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > give_up:
                if wanted == "WAL":
                    raise
                return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            time.sleep(0.05)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _can_write(file: Path) -> bool:
    """Tell whether a database can be written, and files beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def _may_pass(error: sqlite3.OperationalError, opening: bool) -> bool:
    """Whether the same may work in a while."""
    return _code(error) in (MAY_PASS - REFUSED if opening else MAY_PASS)


def _code(error: sqlite3.OperationalError) -> int:
    """Return SQLite's code of an error, without what extends it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _explanation(path: Path, error: sqlite3.OperationalError) -> str:
    reason = str(error)
    if "unable to open" in reason:
        state = "is a folder" if path.is_dir() else "can't be opened"
        return f"database {path} {state}: check that its folder exists and is writable, or name another with --db"
    if "readonly" in reason:
        return f"database {path} is read-only: make it and its folder writable, or name another with --db"
    if "full" in reason:
        return f"the disk of database {path} is full: make room, or name another with --db"
    if "locked" in reason:
        return f"database {path} is locked by another program for over {BUSY_SECONDS} s: close it, or name another"
    kind = file_system(real_path(path))
    return f"database {path}{f', on {kind}' if kind else ''}: {reason}; check the disk, or name another with --db"
