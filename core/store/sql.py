"""SQL of the user's own, which can do nothing but read, for as long as it is given."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.messages import shortened
from core.errors import UsageError
from core.store.opening import explaining
from core.store.reader import Reader
from core.store.views import VIEWS

READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""What a statement may do, by SQLite's codes."""
PRAGMAS = {
    "table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list", "function_list",
    "compile_options", "user_version", "application_id", "page_count", "page_size", "database_list", "encoding",
}  # fmt: skip
"""Pragmas that tell something; they may be given no value, but the name of a table."""
OF_TABLES = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}
ITS_OWN = {
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISUSE,
}  # fmt: skip
"""SQLite's codes for what is wrong with a statement, not with the database."""
REFUSALS = ("not authorized", "authorization denied", "prohibited", "cannot modify", "readonly", "may not be modified")
"""Parts of SQLite's messages about a statement that would do something else than to read."""
LOOK_STEPS = 20_000
"""Steps of SQLite's machine, about a millisecond, after which the time and Ctrl-C are looked at."""
LONGEST_VALUE = 2**26
"""Bytes of a value."""


@dataclass(frozen=True)
class Answer:
    """What a statement returns: the names of its columns, all different, and its rows as they are found."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Any]]


class SqlReader(Reader):
    """A reader that takes SQL. It sees runs as lists show them, and the ready views in older databases too.

    A deleted run is in no view, and one whose process is gone counts as interrupted.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        """Open an existing database.

        Args:
            seconds: how long a statement may take.

        Raises:
            StoreError: there is none, or it can't be read.
        """
        super().__init__(path)
        self._seconds, self._gives_up, self._stopped = seconds, 0.0, False
        with explaining(path):
            for name, query in VIEWS.items():
                self._connection.execute(f"CREATE TEMP VIEW {name} AS {query}")
            self._connection.execute("PRAGMA query_only = ON")
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        self._connection.set_authorizer(_reads_only)
        self._connection.set_progress_handler(self._should_stop, LOOK_STEPS)

    def ask(self, sql: str) -> Answer:
        """Begin one statement that reads; its rows come while they are asked for.

        Raises:
            UsageError: it is no SQL, more than one statement, or does something else than to read. The rows raise it
                too, if a value can't be had or it takes too long.
        """
        self._gives_up = time.monotonic() + self._seconds
        cursor = self._attempt(lambda: self._connection.execute(sql))
        if cursor.description is None:
            raise UsageError("there is no statement to run: write one, such as 'select * from run_results'")
        return Answer(_different([column[0] for column in cursor.description]), self._rows_of(cursor))

    def _rows_of(self, cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
        while (row := self._attempt(cursor.fetchone)) is not None:
            yield row

    def _should_stop(self) -> bool:
        """Tell whether SQLite shall end the statement; Python's own handler of Ctrl-C may run in here."""
        try:
            return time.monotonic() > self._gives_up
        except KeyboardInterrupt:
            self._stopped = True
            return True

    def _attempt(self, action: Callable[[], Any]) -> Any:
        """Return what an action of SQLite returns, and turn its errors about the statement into one for the user."""
        with explaining(self.path):
            try:
                return action()
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                if code == sqlite3.SQLITE_INTERRUPT:
                    if self._stopped:
                        raise KeyboardInterrupt from None
                    raise UsageError(
                        f"the statement took longer than {self._seconds:g} s: narrow it, or raise --timeout"
                    ) from error
                if code in ITS_OWN:
                    raise UsageError(f"SQL: {self._reason(shortened(str(error)))}") from error
                raise

    def _reason(self, message: str) -> str:
        if any(word in message for word in REFUSALS):
            return f"{message}: eetui sql only reads what is in the database"
        if "one statement at a time" in message:
            return "several statements: write one"
        if "bindings" in message:
            return "there are no values for ? and :name: write them into the statement"
        if message.startswith("no such table"):
            return f"{message}: there are {', '.join(VIEWS)}, and the tables of docs/schema.md"
        return message


def _reads_only(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """Decide whether a statement may do something: SQLite's authorizer."""
    if action in READS:
        return sqlite3.SQLITE_OK
    if (
        action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
    ):  # asked when json_each and the like are first used;
        return sqlite3.SQLITE_OK  # SQLite itself lets nobody change this table
    if action == sqlite3.SQLITE_PRAGMA and first in PRAGMAS and (second is None or first in OF_TABLES):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _different(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of columns, the further ones of the same name with a number."""
    found: list[str] = []
    for name in names:
        number, fresh = 2, name
        while fresh in found:
            fresh, number = f"{name}_{number}", number + 1
        found.append(fresh)
    return tuple(found)
