"""The reader of everything that is shown: names, notes and messages of any database, harmless and of bounded length."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from core.store.reader import Reader
from eetui.drawing.harmless import LONGEST_LINE, lines, one_line

ON_ONE_LINE = ("name", "method", "preset", "tags", "tag", "host")
OF_LINES = ("error", "text")


class ShownReader(Reader):
    """A reader whose texts can be shown as they are. Configs, events and vocabularies stay what they are."""

    _exact = False

    @contextmanager
    def exactly(self) -> Iterator[Self]:
        """Read the exact texts while the block runs, for exports."""
        self._exact = True
        try:
            yield self
        finally:
            self._exact = False

    def run(self, run: int) -> dict[str, Any]:
        """Read one run's row; its record can be shown as well."""
        row = super().run(run)
        return row if self._exact else {**row, "record": _shown(row["record"])}

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        rows = super()._rows(sql, values)
        if not self._exact and rows:
            for name in [name for name in ON_ONE_LINE if name in rows[0]]:
                for row in rows:
                    row[name] = _shown(row[name], longest=None)
            for name in [name for name in OF_LINES if name in rows[0]]:
                for row in rows:
                    row[name] = lines(row[name]) if isinstance(row[name], str) else row[name]
        return rows


def _shown(value: Any, longest: int | None = LONGEST_LINE) -> Any:
    """Return a value with every text in it on one line; None: as short as a name."""
    if isinstance(value, str):
        return one_line(value) if longest is None else one_line(value, longest)
    if isinstance(value, dict):
        return {key: _shown(each, longest) for key, each in value.items()}
    return [_shown(each, longest) for each in value] if isinstance(value, list) else value
