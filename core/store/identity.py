"""Whose database a file is, found out without a byte of it, or beside it, being written.

Ours have `application_id` in their header. Those of earlier versions are known by the columns of their table of runs.
"""

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from core.errors import DamagedError, StoreError
from core.store.files import log_file

APPLICATION_ID = int.from_bytes(b"eetu")
MAGIC = b"SQLite format 3\0"
HEADER_BYTES, ID_PLACE = 100, slice(68, 72)
FIRST_COLUMNS = {"id", "experiment", "name", "method", "seed", "status", "config", "record", "created"}
"""Columns that the table of runs has had from the beginning."""
MARKS = (
    b"experiment INTEGER NOT NULL", b"run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE",
    b'RunStarted{"stages"', b'Steps{"stage"',
)  # fmt: skip
"""Texts of the schema, and of entries of the logs, that no other program has."""
SEARCHED_BYTES, PIECE_BYTES = 2**28, 2**20
"""How much of a damaged file is searched for them, and how much of it at once."""


def require_ours(file: Path, path: Path) -> None:
    """Check that a file is a database of ours, or one that is yet to be made.

    Args:
        file: the file itself.
        path: what the user calls it.

    Raises:
        StoreError: it is another program's, or no file.
        DamagedError: it is ours and can't be read, or no database at all.
    """
    try:
        found = os.stat(file)
    except OSError:  # whoever opens it is told
        return
    size = found.st_size
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path} is a device or a pipe, in which nothing can be kept: choose another with --db")
    if not size:
        return
    if size < HEADER_BYTES:  # SQLite takes some of these for empty and writes over them
        raise DamagedError(damage(path, f"{size} bytes are no database"))
    try:
        ours = _is_ours(file)
    except sqlite3.OperationalError as error:  # it may pass: whoever opens it is told
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            return
        ours = False
    except sqlite3.DatabaseError as error:
        if _has_our_id(_head(file, HEADER_BYTES)):  # damaged, or just being made: whoever opens it finds out
            return
        raise DamagedError(damage(path, str(error))) from error
    if not ours:
        if _looks_like_ours(file):
            raise DamagedError(damage(path, "its table of runs is gone"))
        raise StoreError(f"{path} is an SQLite database of another program: choose another with --db")


def damage(path: Path, reason: str) -> str:
    """Say of a file that can't be read whose it is, and what to do."""
    if _looks_like_ours(path):
        return (
            f"{path} is an eetui database that is damaged ({reason}): eetui doctor --repair saves what it can in a copy"
        )
    if _head(path, len(MAGIC)) == MAGIC:
        return (
            f"{path} is an SQLite database that is damaged ({reason}), and what is left of it does not tell whose: if "
            f"it is eetui's, eetui doctor --repair saves what it can in a copy; else choose another with --db"
        )
    return f"{path} is not an eetui database ({reason}): choose another with --db"


def untouched(file: Path) -> sqlite3.Connection:
    """Open a database so that nothing is written to it, nor beside it if it has no write-ahead log to be read."""
    return _unwritten(file, immutable=not _has_log(file))


def _unwritten(file: Path, *, immutable: bool) -> sqlite3.Connection:
    """Open a database so that nothing is written to it.

    Args:
        immutable: whether nothing is written beside it either, and its write-ahead log is left out.
    """
    options = "immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"file:{quote(str(file))}?{options}", uri=True, isolation_level=None)


def _has_log(file: Path) -> bool:
    """Tell whether a database has a write-ahead log that holds anything."""
    try:
        return os.stat(log_file(file)).st_size > 0
    except OSError:
        return False


def _is_ours(file: Path) -> bool:
    """Tell whether a database has our id or, without any, our table of runs or no table at all."""
    for immutable in (True, False):  # what is in the log only is looked at where the rest tells nothing
        with closing(_unwritten(file, immutable=immutable)) as connection:
            identity = connection.execute("PRAGMA application_id").fetchone()[0]
            if identity:
                return bool(identity == APPLICATION_ID)
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if tables or version:
                columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
                return bool(version > 0 and columns >= FIRST_COLUMNS)
        if not _has_log(file):
            break
    return True


def _looks_like_ours(file: Path) -> bool:
    """Tell whether a file that SQLite can't read has our id, or one of `MARKS` in a page that is left of it."""
    if _has_our_id(_head(file, HEADER_BYTES)):
        return True
    overlap = max(map(len, MARKS))
    pieces = _pieces(file, range(0, SEARCHED_BYTES, PIECE_BYTES), PIECE_BYTES + overlap)
    return any(mark in piece for piece in pieces for mark in MARKS)


def _has_our_id(head: bytes) -> bool:
    return head.startswith(MAGIC) and head[ID_PLACE] == APPLICATION_ID.to_bytes(4)


def _head(file: Path, size: int) -> bytes:
    """Return the first bytes of a file that SQLite can't read; none if it is not there or can't be read."""
    return next(_pieces(file, [0], size), b"")


def _pieces(file: Path, starts: Iterable[int], size: int) -> Iterator[bytes]:
    """Yield what there is at those places of a file, up to its end; nothing if it is not there or can't be read.

    The file is left open: closing it would take from this process every lock that SQLite holds on it by way of another
    connection (sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY)
        for start in starts:
            if not (piece := os.pread(descriptor, size, start)):
                return
            yield piece
