"""Whose database a file is, found out without a byte of it, or beside it, being written.

Ours have `application_id` in their header. Those of earlier versions are known by the columns of their table of runs.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from core.errors import DamagedError, StoreError

APPLICATION_ID = int.from_bytes(b"eetu")
MAGIC = b"SQLite format 3\0"
HEADER_BYTES, ID_PLACE = 100, slice(68, 72)
FIRST_COLUMNS = {"id", "experiment", "name", "method", "seed", "status", "config", "record", "created"}
"""Columns that the table of runs has had from the beginning."""
MARK, MARKED_BYTES = b"experiment INTEGER NOT NULL", 2**20
"""Text of the schema that no other program has, and how much of a damaged file is searched for it."""


def require_ours(file: Path, path: Path) -> None:
    """Check that a file is a database of ours, or one that is yet to be made.

    Args:
        file: the file itself.
        path: what the user calls it.

    Raises:
        StoreError: it is another program's.
        DamagedError: it is ours and can't be read, or no database at all.
    """
    header = _head(file, HEADER_BYTES)
    if not header or (header.startswith(MAGIC) and header[ID_PLACE] == APPLICATION_ID.to_bytes(4)):
        return
    try:
        ours = header.startswith(MAGIC) and not any(header[ID_PLACE]) and _has_our_schema(file)
    except sqlite3.OperationalError as error:  # it may pass: whoever opens it is told
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            return
        ours = False
    except sqlite3.DatabaseError as error:
        raise DamagedError(damage(path, str(error))) from error
    if not header.startswith(MAGIC):
        raise DamagedError(damage(path, "file is not a database"))
    if not ours:
        raise StoreError(f"{path} is an SQLite database of another program: choose another with --db")


def damage(path: Path, reason: str) -> str:
    """Say of a file that can't be read whose it is, and what to do."""
    if _looks_like_ours(path):
        return (
            f"{path} is an eetui database that is damaged ({reason}): eetui doctor --repair saves what it can in a copy"
        )
    return f"{path} is not an eetui database ({reason}): choose another with --db"


def unwritten(file: Path, *, immutable: bool) -> sqlite3.Connection:
    """Open a database so that nothing is written to it.

    Args:
        immutable: whether nothing is written beside it either, and its write-ahead log is left out.
    """
    options = "immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(file))}?{options}", uri=True, isolation_level=None)


def has_log(file: Path) -> bool:
    """Tell whether a database has a write-ahead log that holds anything."""
    try:
        return os.stat(file.with_name(f"{file.name}-wal")).st_size > 0
    except OSError:
        return False


def _has_our_schema(file: Path) -> bool:
    """Tell whether a database has our table of runs, or no table at all as one that is yet to be filled."""
    for immutable in (True, False):  # what is in the log only is looked at where the rest tells nothing
        with closing(unwritten(file, immutable=immutable)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if tables or version:
                columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
                return bool(version > 0 and columns >= FIRST_COLUMNS)
        if not has_log(file):
            break
    return bool(version == 0)


def _looks_like_ours(file: Path) -> bool:
    head = _head(file, MARKED_BYTES)
    return MARK in head or (head.startswith(MAGIC) and head[ID_PLACE] == APPLICATION_ID.to_bytes(4))


def _head(file: Path, size: int) -> bytes:
    """Return the first bytes of a file; none if it is not there or can't be read: whoever opens it is told."""
    try:
        with open(file, "rb") as opened:
            return opened.read(size)
    except OSError:
        return b""
