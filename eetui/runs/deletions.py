"""Runs that are to be deleted once nobody can change their mind any more."""

import json
from collections.abc import Sequence
from dataclasses import replace

from core.store.reader import Query


class Deletions:
    """Batches of runs that lists leave out; the last one can be taken back."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, ...]] = []

    @property
    def runs(self) -> tuple[int, ...]:
        """All runs that are to be deleted."""
        return tuple(run for batch in self._batches for run in batch)

    def add(self, runs: Sequence[int]) -> None:
        """Leave these out from now on."""
        self._batches.append(tuple(runs))

    def undo(self) -> tuple[int, ...]:
        """Take the last batch back; its runs, none if there was none."""
        return self._batches.pop() if self._batches else ()

    def take(self) -> tuple[int, ...]:
        """All runs that are to be deleted, to be deleted now: they can't be taken back any more."""
        runs = self.runs
        self._batches.clear()
        return runs

    def hide(self, query: Query) -> Query:
        """The same query without them."""
        if not self._batches:
            return query
        where = f"({query.where}) AND id NOT IN (SELECT value FROM json_each(?))"
        return replace(query, where=where, values=(*query.values, json.dumps(self.runs)))
