"""The tables, as ordered migrations, and how a database is brought up to date before it is used.

`PRAGMA user_version` holds the number of migrations applied, so that a reader can tell at once whether there is
anything to do; sqlite-utils, which applies them, is imported only then.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DamagedError, StoreError, UnwritableError
from core.store.files import real_path

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

TOKEN_COLUMNS = ("cross_entropy", "signal", "max_prob", "prediction")
"""Columns of `token_statistics` that hold an array, and fields of `TokensMeasured`."""
BUSY_SECONDS = 30
"""How long to wait for another process's transaction."""
MAY_PASS = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
"""SQLite's codes for what may pass without anything being done to the database."""
REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""Those of them that, where a database is opened, speak of the wrong place."""


def runs(db: "Database") -> None:
    """Create `runs`, one row a run: identity, status, and the figures that lists sort and filter by."""
    db.execute("""
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            experiment INTEGER NOT NULL,
            name TEXT NOT NULL UNIQUE,
            method TEXT NOT NULL,
            seed INTEGER NOT NULL,
            preset TEXT,
            status TEXT NOT NULL,
            config TEXT NOT NULL,
            record TEXT NOT NULL,
            created REAL NOT NULL,
            started REAL,
            ended REAL,
            pid INTEGER,
            host TEXT,
            heartbeat REAL,
            error TEXT,
            block0_val_ppl REAL,
            final_ppl REAL,
            accuracy REAL,
            shallow_ratio REAL,
            layer_savings REAL,
            seconds REAL
        )""")
    db.execute("CREATE INDEX runs_by_experiment ON runs (experiment)")
    db.execute("CREATE INDEX runs_by_status ON runs (status)")


def events(db: "Database") -> None:
    """Create `events`, the log of each run; consecutive steps share a row."""
    db.execute("""
        CREATE TABLE events (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            time REAL NOT NULL,
            type TEXT NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) WITHOUT ROWID""")


def results(db: "Database") -> None:
    """Create `results`, measurements with split and token set; `window_losses`: float32, nats, one a window."""
    db.execute("""
        CREATE TABLE results (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            stage TEXT NOT NULL,
            name TEXT NOT NULL,
            split TEXT NOT NULL,
            token_set TEXT NOT NULL,
            tokens INTEGER NOT NULL,
            loss REAL NOT NULL,
            accuracy REAL NOT NULL,
            shallow_ratio REAL NOT NULL,
            layer_savings REAL NOT NULL,
            window_losses BLOB,
            PRIMARY KEY (run_id, stage, name)
        )""")


def tags_and_notes(db: "Database") -> None:
    """Create `tags` and `notes`."""
    db.execute("""
        CREATE TABLE tags (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            tag TEXT NOT NULL,
            PRIMARY KEY (run_id, tag)
        ) WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE notes (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            time REAL NOT NULL,
            text TEXT NOT NULL
        )""")
    db.execute("CREATE INDEX notes_by_run ON notes (run_id)")


def tokens(db: "Database") -> None:
    """Create the tables of token statistics, and of the texts they are of, each shared by all runs on it.

    All blobs are compressed by zlib: float32 and int32 arrays of this machine, and `vocabulary`, a JSON list.
    """
    db.execute("""
        CREATE TABLE token_statistics (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            block INTEGER NOT NULL,
            cross_entropy BLOB NOT NULL,
            signal BLOB NOT NULL,
            max_prob BLOB NOT NULL,
            prediction BLOB NOT NULL,
            PRIMARY KEY (run_id, block)
        )""")
    db.execute("""
        CREATE TABLE texts (
            fingerprint TEXT PRIMARY KEY,
            seq_len INTEGER NOT NULL,
            vocabulary BLOB NOT NULL,
            stream BLOB NOT NULL
        )""")


def savings(db: "Database") -> None:
    """FLOP and time savings, so that lists sort and filter by them; those of older runs are in their logs."""
    for column, figure in (("flop_savings", "flops"), ("time_savings", "time")):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} REAL")
        db.execute(f"""
            UPDATE runs SET {column} = (
                SELECT json_extract(data, '$.{figure}') FROM events
                WHERE run_id = runs.id AND type = 'Savings' ORDER BY seq DESC LIMIT 1
            ) WHERE final_ppl IS NOT NULL""")


def processes(db: "Database") -> None:
    """Add the identity of the process that holds a run (`core.store.liveness`); NULL in older rows."""
    db.execute("ALTER TABLE runs ADD COLUMN process TEXT")


def deleted_runs(db: "Database") -> None:
    """Create the bin (`core.store.bin`): the deleted runs, their names, and when they were deleted."""
    db.execute("""
        CREATE TABLE bin (
            run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            deleted REAL NOT NULL
        )""")


MIGRATIONS = (runs, events, results, tags_and_notes, tokens, savings, processes, deleted_runs)
LATEST_VERSION = len(MIGRATIONS)


def migrations() -> "Migrations":
    """Return the migration set for sqlite-utils."""
    from sqlite_utils import Migrations  # 40 ms, and 300 ms where pandas is installed

    ordered = Migrations("eetui")
    for migration in MIGRATIONS:
        ordered()(migration)
    return ordered


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
        raise DamagedError(f"{path} is not an eetui database ({error}): choose another with --db") from error


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open a database and bring it up to date; an older one is copied first.

    Args:
        create: for the writer, who creates it if it is missing, and sees to it that its threads take turns.

    Raises:
        StoreError: it is missing (and not to be created), unreadable, not ours, or newer than this eetui.
    """
    if not create and not path.exists():
        raise StoreError(f"there is no database {path}: train something first (eetui run), or name one with --db")
    with explaining(path, opening=True):
        connection = sqlite3.connect(
            real_path(path), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not create
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            if version(connection, path) < LATEST_VERSION:
                _upgrade(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Number of migrations applied.

    Raises:
        StoreError: the database is newer than this eetui, or somebody else's.
    """
    applied = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if applied > LATEST_VERSION:
        raise StoreError(
            f"{path} was written by a newer eetui (schema {applied}, this one knows {LATEST_VERSION}): "
            f"upgrade eetui, or choose another database with --db"
        )
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if (applied == 0 and tables) or (applied > 0 and "runs" not in tables):
        raise StoreError(f"{path} is an SQLite database of another program: choose another with --db")
    return applied


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Apply what is pending, in one transaction, one process at a time."""
    from sqlite_utils import Database

    connection.execute("BEGIN IMMEDIATE")
    try:
        before = version(connection, path)
        if before < LATEST_VERSION:
            if before:
                file = real_path(path)
                _copy(file, file.with_name(f"{file.name}.backup-{before}"))
            migrations().apply(Database(connection))
            connection.execute(f"PRAGMA user_version = {LATEST_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


def _may_pass(error: sqlite3.OperationalError, opening: bool) -> bool:
    """Whether the same may work in a while."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (MAY_PASS - REFUSED if opening else MAY_PASS)


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
    return f"database {path}: {reason}; check the disk, or name another with --db"
