"""What a run's events leave in the store: the log, what they measured, and how the run stands after them."""

import sqlite3
import time
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.events import Event, Measured, RunInterrupted, RunStarted, TokensMeasured
from core.metrics import STORED
from core.state import LIVE, RunState
from core.store import codec
from core.store.liveness import IS_LIVE
from core.store.rows import insert, update_run
from core.store.schema import TOKEN_COLUMNS, WINDOW_COLUMNS
from core.store.thinning import Thinning


@dataclass(frozen=True)
class Batch:
    """Events that are about to be stored, what they measured packed as rows, and how the run stands after them.

    Attributes:
        measured: stage and name of what was measured, which replaces what was of that name.
    """

    run: int
    events: Sequence[Event]
    state: RunState
    now: float
    measured: Sequence[tuple[str, str]]
    results: Sequence[Mapping[str, Any]]
    tokens: Sequence[Mapping[str, Any]]

    @staticmethod
    def of(run: int, events: Sequence[Event], state: RunState) -> "Batch":
        """Pack events, which takes a while, before the store is locked for them."""
        now = time.time()
        measured = {(event.stage, event.name): event for event in events if isinstance(event, Measured)}
        whole = (event for event in measured.values() if event.accuracy is not None)  # as the table wants them
        results = [_result(run, event) for event in whole]
        tokens = [_block_tokens(run, event) for event in events if isinstance(event, TokensMeasured)]
        return Batch(run, events, state, now, tuple(measured), results, tokens)


class Recording:
    """Writes the events of runs, numbered in their order, in transactions of the writer's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._next_seq: dict[int, int] = {}
        self._thinning = Thinning(connection)

    def store(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Store a batch. A run that starts again, because it was resumed, loses what it had measured before."""
        run, events = batch.run, batch.events
        start = next((event for event in events if isinstance(event, RunStarted)), None)
        if start:
            connection.execute("DELETE FROM results WHERE run_id = ?", [run])
            _record_threads(connection, run, start)
        self._thinning.make_room(run, events)
        self._log(connection, run, events, batch.now)
        sql = "DELETE FROM results WHERE run_id = ? AND stage = ? AND name = ?"
        connection.executemany(sql, [(run, *key) for key in batch.measured])
        insert(connection, "results", batch.results)
        insert(connection, "token_statistics", batch.tokens, where_taken="REPLACE")
        times = _times(batch.state, batch.now, starts=start is not None)
        update_run(connection, run, {**_summary(batch.state), **times})
        _end_after_start(connection, run)

    def end(self, connection: sqlite3.Connection, run: int, event: RunInterrupted) -> None:
        """End a run that is queued or running, unless another process has done so."""
        now = time.time()
        if connection.execute(f"SELECT 1 FROM runs WHERE id = ? AND {IS_LIVE}", [run]).fetchone():
            self._log(connection, run, [event], now)
            ended = {"status": "interrupted", "error": event.reason, "seconds": event.seconds, "ended": now}
            update_run(connection, run, ended)
            _end_after_start(connection, run)

    def forget(self, run: int) -> None:
        """Look up where the log of a run ends before it is written on: another process may have."""
        self._next_seq.pop(run, None)

    def take_back(self, connection: sqlite3.Connection, run: int) -> None:
        """Delete the end that somebody else wrote of a run whose log goes on."""
        if run in self._next_seq:
            sql = "DELETE FROM events WHERE run_id = ? AND seq >= ?"
            self._next_seq[run] += connection.execute(sql, [run, self._next_seq[run]]).rowcount

    def _log(self, connection: sqlite3.Connection, run: int, events: Sequence[Event], now: float) -> None:
        first = self._next_seq.get(run) or _first_seq(connection, run)
        rows = [
            {"run_id": run, "seq": first + index, "time": now, "type": kind, "data": data}
            for index, (kind, data) in enumerate(codec.encode(events))
        ]
        insert(connection, "events", rows)
        self._next_seq[run] = first + len(rows)


def _first_seq(connection: sqlite3.Connection, run: int) -> int:
    query = "SELECT coalesce(max(seq), 0) + 1 FROM events WHERE run_id = ?"
    return int(connection.execute(query, [run]).fetchone()[0])


def _record_threads(connection: sqlite3.Connection, run: int, start: RunStarted) -> None:
    """Keep the number of threads that a run really computes with, so that it does when it is resumed."""
    sql = "UPDATE runs SET record = json_set(record, '$.threads', ?) WHERE id = ? AND ? IS NOT NULL"
    connection.execute(sql, [start.threads, run, start.threads])


def _end_after_start(connection: sqlite3.Connection, run: int) -> None:
    """Let a run that by the clock ended before it started have ended as long after as it took."""
    sql = "UPDATE runs SET ended = started + coalesce(seconds, 0) WHERE id = ? AND ended < started"
    connection.execute(sql, [run])


def _times(state: RunState, now: float, *, starts: bool) -> dict[str, float]:
    """Return the columns of `runs` that hold its times."""
    times = {"heartbeat": now}
    if starts:
        times["started"] = now
    if state.status not in LIVE:
        times["ended"] = now
    return times


def _summary(state: RunState) -> dict[str, Any]:
    """Return the columns of `runs` that follow from the events."""
    figures = {column.name: metric.value(state, {}) for column, metric in STORED}
    error = state.error and state.error.encode(errors="backslashreplace").decode()  # of a file name that is no text
    return {"status": state.status, "error": error, "seconds": state.seconds, **figures}


def _result(run: int, event: Measured) -> dict[str, Any]:
    return {
        "run_id": run,
        "stage": event.stage,
        "name": event.name,
        "split": event.split,
        "token_set": event.token_set,
        "tokens": event.tokens,
        "loss": event.loss,
        "accuracy": event.accuracy,
        "shallow_ratio": event.shallow_ratio,
        "layer_savings": event.layer_savings,
        **{name: array("f", values).tobytes() if (values := getattr(event, name)) else None for name in WINDOW_COLUMNS},
    }


def _block_tokens(run: int, event: TokensMeasured) -> dict[str, Any]:
    packed = {name: zlib.compress(getattr(event, name)) for name in TOKEN_COLUMNS}
    return {"run_id": run, "block": event.block, **packed}
