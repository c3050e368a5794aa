"""The log of a run, entry by entry, with when each was stored and whether it still counts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.events import Event, RunStarted, Warned
from core.store import codec

PAGE = 500
"""Entries that are read at a time."""


class Selects(Protocol):
    """What reads the rows of a query, as `core.store.reader.Reader` does."""

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Entry:
    """An entry of a run's log.

    Attributes:
        time: when it was stored, in seconds since 1970.
        superseded: whether the run was started again afterwards (`core.events`).
        events: one event, or the steps of up to a tenth of a second.
    """

    seq: int
    time: float
    superseded: bool
    events: tuple[Event, ...]


def log_entries(reader: Selects, run: int) -> Iterator[Entry]:
    """Yield the entries of a run's log in order, a page of them in memory at a time.

    An entry that can't be read holds a warning in its place.
    """
    begun = "SELECT max(seq) AS seq FROM events WHERE run_id = ? AND type = ?"
    start = reader.select(begun, (run, RunStarted.__name__))[0]["seq"] or 0
    page = "SELECT seq, time, type, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    after = -1
    while rows := reader.select(page, (run, after, PAGE)):
        for row in rows:
            yield Entry(row["seq"], row["time"], row["seq"] < start, readable(run, row))
        after = rows[-1]["seq"]


def readable(run: int, row: Mapping[str, Any]) -> tuple[Event, ...]:
    """Decode the events of an entry; one that can't be read is a warning in its place."""
    try:
        return codec.checked((row["type"], row["data"]))
    except codec.UnreadableError as error:
        where = f"entry {row['seq']} of the log of run {run} ({row['type']})"
        return (Warned(f"{where} is damaged and left out, {error}: eetui doctor says what else is"),)
