"""Marks on runs, in the order they were made."""

import json
from dataclasses import replace

from core.store.reader import Query, Reader

Marks = dict[int, None]
MARK_LIMIT = 500
"""Most runs that are marked by one key."""


def toggle(marks: Marks, run: int) -> None:
    """Mark a run, or unmark it."""
    if run in marks:
        del marks[run]
    else:
        marks[run] = None


def mark_all(marks: Marks, reader: Reader, query: Query) -> None:
    """Mark what a query finds, as far as the limit goes.

    Raises:
        StoreError: the database can't be read.
    """
    marks.update(dict.fromkeys(row["id"] for row in reader.runs(replace(query, limit=MARK_LIMIT))))


def drop_the_gone(marks: Marks, reader: Reader) -> None:
    """Take the marks off runs that somebody deleted.

    Raises:
        StoreError: the database can't be read.
    """
    query = Query("id IN (SELECT value FROM json_each(?))", (json.dumps(list(marks)),))
    if marks and reader.count(query) < len(marks):
        there = {row["id"] for row in reader.runs(query)}
        for run in [run for run in marks if run not in there]:
            del marks[run]
