"""The runs of a query, read page by page as they are looked at."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from core.store.reader import Query, Reader, RunRow

PAGE_ROWS = 100
PAGES_KEPT = 8


class RunPages:
    """Rows by their index in a query's order; what was not looked at lately is forgotten."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.query = Query("0")
        self.count = 0
        self._pages: OrderedDict[int, list[RunRow]] = OrderedDict()

    def show(self, query: Query) -> None:
        """Take another query, or look anew at what the same one gives.

        Raises:
            StoreError: the database can't be read.
        """
        self.count = self.reader.count(query)
        self.query = query
        self._pages.clear()

    def row(self, index: int) -> RunRow | None:
        """The row at an index of the query's order, if there is one.

        Raises:
            StoreError: the database can't be read.
        """
        if not 0 <= index < self.count:
            return None
        page, place = divmod(index, PAGE_ROWS)
        if page not in self._pages:
            self._pages[page] = self.reader.runs(replace(self.query, limit=PAGE_ROWS, offset=page * PAGE_ROWS))
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        self._pages.move_to_end(page)
        rows = self._pages[page]
        return rows[place] if place < len(rows) else None

    def position(self, run: int) -> int | None:
        """The index of a run; None if the query does not find it."""
        where = f"({self.query.where}) AND id = ?"
        found = self.reader.runs(replace(self.query, where=where, values=(*self.query.values, run), limit=1))
        return self.reader.count(before(self.query, found[0])) if found else None


def before(query: Query, row: RunRow) -> Query:
    """The runs that come before this one in the query's order: missing values last, equal ones by number."""
    column, value = query.order_by, row[query.order_by]
    ahead = ">" if query.descending else "<"
    values: tuple[Any, ...] = (row["id"],)
    if column == "id":
        condition = f"id {ahead} ?"
    elif value is None:
        condition = f"({column} IS NOT NULL OR id {ahead} ?)"
    else:
        condition = f"({column} {ahead} ? OR {column} = ? AND id {ahead} ?)"
        values = (value, value, row["id"])
    return replace(query, where=f"({query.where}) AND {condition}", values=(*query.values, *values))
