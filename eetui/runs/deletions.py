"""Runs to be deleted once that can no longer be undone."""

import json
from collections.abc import Sequence
from dataclasses import replace

from core.store.reader import Query


class Deletions:
    """Batches of runs that lists hide; the last batch can be taken back."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, ...]] = []

    @property
    def runs(self) -> tuple[int, ...]:
        """Return all runs to be deleted."""
        return tuple(run for batch in self._batches for run in batch)

    def add(self, runs: Sequence[int]) -> None:
        """Hide these runs from now on."""
        self._batches.append(tuple(runs))

    def undo(self) -> tuple[int, ...]:
        """Take the last batch back and return its runs; none if there was no batch."""
        return self._batches.pop() if self._batches else ()

    def take(self) -> tuple[int, ...]:
        """Return all runs to be deleted and forget them: they can no longer be taken back."""
        runs = self.runs
        self._batches.clear()
        return runs

    def hide(self, query: Query) -> Query:
        """Return the query without these runs."""
        if not self._batches:
            return query
        where = f"({query.where}) AND id NOT IN (SELECT value FROM json_each(?))"
        return replace(query, where=where, values=(*query.values, json.dumps(self.runs)))
