"""The reading side of the store: plain queries, nothing imported that a list of runs does not need.

Every query sees the runs through a temporary view of this connection, in which a run that is queued or running, but
whose process is gone, is interrupted: with nothing written, and whoever has the database open.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from core.config.messages import shortened
from core.errors import DamagedError, RunLookupError
from core.events import Event, RunInterrupted, TokensMeasured, Way, way_name
from core.metrics import STORED
from core.state import RunState, reduce, reduce_all
from core.store import codec
from core.store.identity import damage
from core.store.liveness import GONE, IS_HELD, IS_LIVE, Liveness
from core.store.log import readable
from core.store.opening import closed_by_errors, connect_to_read, explaining
from core.store.schema import TOKEN_COLUMNS, WINDOW_COLUMNS
from core.store.tokens import EvaluationText, floats, integers

COLUMNS = (
    "id", "experiment", "name", "method", "seed", "preset", "status", "created", "started", "ended", "heartbeat",
    "error", *(column.name for column, _ in STORED), "seconds",
)  # fmt: skip
TAGS = "(SELECT group_concat(tag, ' ') FROM tags WHERE run_id = runs.id) AS tags"
RunRow = dict[str, Any]
"""A run as lists have it: values by column."""


@dataclass(frozen=True)
class Query:
    """A selection of runs in an order: a WHERE clause with its values, ORDER BY column names, a page.

    Attributes:
        deleted: whether it is about the runs in the bin instead of the others.
    """

    where: str = "1"
    values: tuple[Any, ...] = ()
    order_by: str = "id"
    descending: bool = False
    limit: int = -1
    offset: int = 0
    deleted: bool = False

    @property
    def source(self) -> str:
        """The table that is asked: the runs, or those in the bin, which have a column `deleted` more."""
        return "binned AS runs" if self.deleted else "runs"


class Reader:
    """Reads runs while others write them. Bring-up of an older database aside, it never writes."""

    def __init__(self, path: Path) -> None:
        """Open an existing database.

        Raises:
            StoreError: there is none, or it can't be read.
        """
        self.path = path
        self._connection = connect_to_read(path)
        with closed_by_errors(self._connection), explaining(path):
            self._look_through_view()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def runs(self, query: Query = Query(), columns: Sequence[str] = (*COLUMNS, "tags")) -> list[RunRow]:
        """Rows of `COLUMNS` and `tags` (space separated, or None), or only some of these: 10,000 take their time.

        Those of deleted runs may have `deleted` too, the time at which they were.
        """
        return self._rows(*_chosen(query, columns))

    def run_tuples(self, query: Query, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Read columns of runs in their order, and expressions of SQL, exact: of 100,000 runs in half the time."""
        with explaining(self.path):
            return self._connection.execute(*_chosen(query, columns)).fetchall()

    def count(self, query: Query = Query()) -> int:
        """Count the runs of a query, its page aside."""
        return int(
            self._rows(f"SELECT count(*) AS count FROM {query.source} WHERE {query.where}", query.values)[0]["count"]
        )

    def version(self) -> object:
        """Something that changes whenever another connection writes to the database, or a run's process goes."""
        return self._rows("PRAGMA data_version")[0]["data_version"], self.gone()

    def live(self) -> list[dict[str, Any]]:
        """Number, name and status of the runs that are queued or running; takes microseconds."""
        return self._rows(f"SELECT id, name, status FROM runs WHERE stored_{IS_LIVE} AND {IS_LIVE} ORDER BY id")

    def gone(self) -> tuple[int, ...]:
        """Return the runs that have no end in the store, but whose process is gone."""
        return tuple(row["id"] for row in self._rows(f"SELECT id FROM runs WHERE stored_{IS_LIVE} AND NOT {IS_LIVE}"))

    def find(self, reference: str) -> int:
        """Find the number of the run that a number, a name or a unique prefix of a name stands for.

        Raises:
            RunLookupError: none, or several.
        """
        rows = self._called(reference, "runs") or self._beginning_with(reference)
        if len(rows) == 1:
            return int(rows[0]["id"])
        if not rows:
            raise RunLookupError(self._not_there(reference))
        names = ", ".join(shortened(row["name"]) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
        raise RunLookupError(f"{_said(reference)} could be {names}: write more of the name, or the number")

    def find_whole(self, reference: str) -> int:
        """Find the number of the run with exactly that number or name.

        Raises:
            RunLookupError: there is none.
        """
        rows = self._called(reference, "runs")
        if rows:
            return int(rows[0]["id"])
        near = ", ".join(shortened(row["name"]) for row in self._beginning_with(reference))
        hint = f"; numbers and whole names only here, such as {near}" if near else ""
        raise RunLookupError(self._not_there(reference) + hint)

    def is_called(self, name: str) -> bool:
        """Tell whether a run has exactly that number or name."""
        return bool(self._called(name, "runs"))

    def find_deleted(self, reference: str) -> int:
        """Find the number of the run in the bin with exactly that number or name.

        Raises:
            RunLookupError: none, or several of that name.
        """
        rows = self._called(reference, "binned")
        if not rows:
            raise RunLookupError(f"there is no run {_said(reference)} in the bin: eetui ls --deleted lists what is")
        if len(rows) > 1:
            numbers = ", ".join(str(row["id"]) for row in rows)
            raise RunLookupError(f"{_said(reference)} is the name of several runs in the bin: take one of {numbers}")
        return int(rows[0]["id"])

    def _called(self, reference: str, source: str) -> list[dict[str, Any]]:
        """Return the runs of that number or else that name.

        Raises:
            RunLookupError: the reference is blank, as that of an unset variable is.
        """
        if not reference.strip():
            raise RunLookupError("a run is named by its number or its name, and not by nothing: was a variable empty?")
        rows = []
        if reference.isdecimal() and len(reference) < 19:
            rows = self._rows(f"SELECT id, name FROM {source} WHERE id = ?", (int(reference),))
        return rows or self._rows(f"SELECT id, name FROM {source} WHERE name = ? ORDER BY id", (reference,))

    def _beginning_with(self, reference: str) -> list[dict[str, Any]]:
        sql = "SELECT id, name FROM runs WHERE substr(name, 1, ?) = ? ORDER BY id LIMIT 6"
        return self._rows(sql, (len(reference), reference))

    def _not_there(self, reference: str) -> str:
        deleted = self._called(reference, "binned")
        if deleted:
            return f"run {_said(reference)} was deleted: eetui restore {deleted[0]['id']} brings it back"
        return f"there is no run {_said(reference)} in {self.path}: eetui ls lists them"

    def latest_experiment(self) -> list[int]:
        """Run numbers of the newest experiment that has a finished run, in order.

        Raises:
            RunLookupError: no run has finished yet.
        """
        rows = self._rows(  # the + keeps SQLite from going through all that have finished
            "SELECT id FROM runs WHERE experiment = "
            "(SELECT experiment FROM runs WHERE +status = 'finished' ORDER BY experiment DESC LIMIT 1) ORDER BY id"
        )
        if not rows:
            raise RunLookupError(f"no run in {self.path} has finished yet: eetui run --no-ui trains three")
        return [int(row["id"]) for row in rows]

    def run(self, run: int) -> dict[str, Any]:
        """Read one run's row with `config` and `record` as mappings, `tags` and `notes` as lists.

        Raises:
            RunLookupError: there is no run of that number (any more).
        """
        rows = self.runs(Query("id = ?", (run,)))
        if not rows:
            raise RunLookupError(f"there is no run {run} in {self.path}: eetui ls lists them")
        row = rows[0]
        more = self._rows("SELECT config, record, pid, host FROM runs WHERE id = ?", (run,))[0]
        notes = self._rows("SELECT time, text FROM notes WHERE run_id = ? ORDER BY id", (run,))
        tags = [tag["tag"] for tag in self._rows("SELECT tag FROM tags WHERE run_id = ? ORDER BY tag", (run,))]
        return {
            **row,
            **more,
            "config": self._mapping(run, "config", more["config"]),
            "record": self._mapping(run, "record", more["record"]),
            "tags": tags,
            "notes": notes,
        }

    def _mapping(self, run: int, what: str, text: str) -> dict[str, Any]:
        with self._reading(f"the {what} of run {run}"):
            found = json.loads(text)
            if not isinstance(found, dict):
                raise TypeError(f"it is {found!r:.40}")
            return found

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Turn what a damaged value raises where it is decoded into one error that names it.

        Raises:
            DamagedError: it can't be decoded.
        """
        try:
            yield
        except (ValueError, TypeError, KeyError, RecursionError, zlib.error) as error:
            raise DamagedError(damage(self.path, f"{what} can't be read: {error}")) from error

    def events(self, run: int, after: int = 0, *, steps: bool = True, limit: int = -1) -> tuple[list[Event], int]:
        """Read the events after a place in the log, and the place they end at, to go on from.

        An entry that can't be read is a warning in its place.

        Args:
            steps: whether to read steps, most of a log, too.
            limit: most entries of the log to read, each of them one event or the steps of up to a tenth of a second.
        """
        rows = self._rows(
            "SELECT seq, type, data FROM events WHERE run_id = ? AND seq > ? AND (? OR type <> ?) ORDER BY seq LIMIT ?",
            (run, after, steps, codec.STEPS, limit),
        )
        events = [event for row in rows for event in readable(run, row)]
        return events, rows[-1]["seq"] if rows else after

    def state(self, run: int) -> RunState:
        """Fold the run's events, single steps left out, to its state; interrupted if its process is gone."""
        state = reduce_all(RunState(), self.events(run, steps=False)[0])
        return reduce(state, RunInterrupted(GONE, 0.0)) if run in self.gone() else state

    def window_losses(self, run: int, way: Way, block: int | None = None) -> Sequence[float]:
        """Mean loss of each evaluation window in nats, on a way through the model; empty if not kept."""
        query = "SELECT window_losses FROM results WHERE run_id = ? AND name = ?"
        rows = self._rows(query, (run, way_name(way, block)))
        with self._reading(f"the window losses of run {run}"):
            return floats(rows[0]["window_losses"] or b"") if rows else floats(b"")

    def window_figures(self, run: int) -> dict[str, dict[str, Sequence[float]]]:
        """Read the figures of each evaluation window that are kept, by way (`Measured.name`) and `WINDOW_COLUMNS`."""
        rows = self._rows(f"SELECT name, {', '.join(WINDOW_COLUMNS)} FROM results WHERE run_id = ?", (run,))
        with self._reading(f"the window figures of run {run}"):
            return {row["name"]: {name: floats(row[name]) for name in WINDOW_COLUMNS if row[name]} for row in rows}

    def token_statistics(self, run: int) -> list[TokensMeasured]:
        """Read each block's statistics of every evaluated token, in the order of the blocks; empty if not kept."""
        rows = self._rows(
            f"SELECT block, {', '.join(TOKEN_COLUMNS)} FROM token_statistics WHERE run_id = ? ORDER BY block", (run,)
        )
        with self._reading(f"the tokens of run {run}"):
            return [
                TokensMeasured(row["block"], **{name: zlib.decompress(row[name]) for name in TOKEN_COLUMNS})
                for row in rows
            ]

    def text(self, fingerprint: str) -> EvaluationText | None:
        """Read the evaluation text of the runs with that corpus fingerprint; None if it was not kept."""
        rows = self._rows("SELECT vocabulary, stream FROM texts WHERE fingerprint = ?", (fingerprint,))
        if not rows:
            return None
        with self._reading("the evaluation text"):
            vocabulary = json.loads(zlib.decompress(rows[0]["vocabulary"]))
            return EvaluationText(vocabulary, integers(rows[0]["stream"]))

    def _look_through_view(self) -> None:
        """Put a view over the table of runs that knows which are live and which deleted, and one over the bin."""
        liveness = Liveness()
        self._connection.create_function("gone", 4, lambda *owner: int(liveness.is_gone(*owner)))
        names = [row["name"] for row in self._rows("PRAGMA table_info(runs)")]
        gone = f"{IS_HELD} AND gone(pid, host, process, coalesce(heartbeat, created))"
        seen = {"status": f"CASE WHEN {gone} THEN 'interrupted' ELSE status END AS status"}
        seen["error"] = f"CASE WHEN {gone} THEN '{GONE}' ELSE error END AS error"
        columns = ", ".join([*(seen.get(name, name) for name in names), "status AS stored_status"])
        kept = "main.runs WHERE id NOT IN (SELECT run_id FROM bin)"
        self._connection.execute(f"CREATE TEMP VIEW runs AS SELECT {columns} FROM {kept}")
        columns = ", ".join([*(f"bin.{name}" if name == "name" else name for name in names), "deleted"])
        binned = "main.runs JOIN bin ON run_id = id"
        self._connection.execute(f"CREATE TEMP VIEW binned AS SELECT {columns} FROM {binned}")

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a query of its own, of which the modules beside this one have some."""
        return self._rows(sql, values)

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with explaining(self.path):
            cursor = self._connection.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]  # twice as fast as by way of sqlite3.Row


def _chosen(query: Query, columns: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL, with its values, of columns of the runs of a query."""
    if query.order_by not in COLUMNS:
        raise ValueError(f"can't order by {query.order_by!r}")
    direction = "DESC" if query.descending else "ASC"
    chosen = ", ".join(TAGS if column == "tags" else column for column in columns)
    sql = (
        f"SELECT {chosen} FROM {query.source} WHERE {query.where} "
        f"ORDER BY {query.order_by} {direction} NULLS LAST, id {direction} LIMIT ? OFFSET ?"
    )
    return sql, (*query.values, query.limit, query.offset)


def _said(reference: str) -> str:
    """Return a reference as messages repeat it: shortened, so that the rest of them is not lost behind it."""
    return repr(shortened(reference))
