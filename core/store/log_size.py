"""Bound on the write-ahead log, which a reader that never lets go of what it sees keeps from being emptied."""

import os
import sqlite3
import time
from pathlib import Path

from core.store.files import log_file

LOG_LIMIT = 64 * 2**20
"""Bytes of the log beyond which it is emptied, or more is written to it only rarely."""
TRY_SECONDS = 10.0
"""Interval at which a log that could not be emptied is tried again."""


class LogSize:
    """Watches the write-ahead log of a connection.

    Attributes:
        kept: bytes of a log that somebody keeps from being emptied; 0 while nobody does.
    """

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self.kept = 0
        self._connection, self._log = connection, log_file(file)
        self._tried = -TRY_SECONDS
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")

    def look(self) -> None:
        """Empty the log if it is too long, outside of any transaction; whoever reads or writes is not waited for."""
        size = self._size()
        if size <= LOG_LIMIT:
            self.kept = 0
        elif time.monotonic() - self._tried >= TRY_SECONDS:
            self._tried = time.monotonic()
            waited = self._connection.execute("PRAGMA busy_timeout").fetchone()[0]
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {waited}")
            self.kept = size if busy else 0

    def _size(self) -> int:
        try:
            return os.stat(self._log).st_size
        except OSError:
            return 0
