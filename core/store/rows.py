"""Rows written as plain SQL. sqlite-utils, which does the same, takes 0.3 s to import where pandas is installed."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Literal


def insert(
    connection: sqlite3.Connection,
    table: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    where_taken: Literal["ABORT", "IGNORE", "REPLACE"] = "ABORT",
) -> None:
    """Insert rows, all with the columns of the first.

    Args:
        where_taken: what becomes of a row whose key another one has.
    """
    if rows:
        columns, places = ", ".join(rows[0]), ", ".join(f":{column}" for column in rows[0])
        connection.executemany(f"INSERT OR {where_taken} INTO {table} ({columns}) VALUES ({places})", rows)


def insert_run(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Insert a run; return its number."""
    insert(connection, "runs", [values])
    return int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])


def update_run(connection: sqlite3.Connection, run: int, values: Mapping[str, Any]) -> None:
    """Give columns of a run other values."""
    columns = ", ".join(f"{column} = :{column}" for column in values)
    connection.execute(f"UPDATE runs SET {columns} WHERE id = :id", {**values, "id": run})
