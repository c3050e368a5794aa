"""Rows of the event table: one for each event of a run's log, single steps too."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from core.events import Event
from core.store.log import Entry, log_entries
from core.store.reader import Reader
from core.valid_json import json_of
from eetui.exports.schema import EVENTS, Chunk

ROWS = 2**16
"""Rows of a chunk, about: it holds whole entries."""
FIELDS = ("stage", "block", "epoch", "step", "loss", "val_loss", "tokens", "seconds")
"""Fields of events that have a column of their own."""


def event_chunks(reader: Reader, numbers: list[int]) -> Iterator[Chunk]:
    """Yield the rows of runs, `ROWS` of them in memory at a time."""
    for number in numbers:
        name, rows = reader.run(number)["name"], list[tuple[Any, ...]]()
        for entry in log_entries(reader, number):
            rows += (_row(number, name, entry, event) for event in entry.events)
            if len(rows) >= ROWS:
                yield _chunk(rows)
                rows = []
        if rows:
            yield _chunk(rows)


def _row(number: int, name: str, entry: Entry, event: Event) -> tuple[Any, ...]:
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    return (
        number, name, entry.seq, entry.time, entry.superseded, type(event).__name__,
        *(fields.get(field) for field in FIELDS), json_of(fields),
    )  # fmt: skip


def _chunk(rows: list[tuple[Any, ...]]) -> Chunk:
    columns = zip(*rows, strict=True)
    return {column.name: list(values) for column, values in zip(EVENTS.columns, columns, strict=True)}
