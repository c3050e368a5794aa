"""A comparison as tables of plain text, used by every format and the screen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eetui.compare.comparison import Comparison, Row
from eetui.drawing.figures import delta, figure
from eetui.drawing.harmless import one_line

BEST = "★"
BEST_MEANS = "best of the row; more than one where no difference between them is clear, none where no difference is"
NOTHING_CLEAR = "no difference is clear"
FINAL_TITLE = "Final: evaluation split, all tokens"
TRAINING_TITLE = "Training"
CONFIG_TITLE = "Config: what differs"


@dataclass(frozen=True)
class Sheet:
    """A table of plain text.

    Attributes:
        best: (row, column) of the cells with a star.
        remark: what is said of the stars; empty where nothing can be ranked.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    remark: str = ""


def sheets(comparison: Comparison) -> Iterator[Sheet]:
    """Yield the final table, the training table and the config differences, unless they are empty."""
    heads = tuple(column.title for column in comparison.columns)
    for title, rows in _tables(comparison):
        if rows:
            yield sheet(title, heads, rows)
    if comparison.config:
        yield config_sheet(comparison)


def _tables(comparison: Comparison) -> Iterator[tuple[str, tuple[Row, ...]]]:
    yield FINAL_TITLE, comparison.final
    yield TRAINING_TITLE, comparison.training
    yield from comparison.further


def sheet(title: str, heads: Sequence[str], rows: Sequence[Row]) -> Sheet:
    """Write rows as text, each value and its difference from the baseline in one cell."""
    deltas = [[delta(change, row.unit) for change in row.deltas] or [""] * len(heads) for row in rows]
    widths = [max((len(line[column]) for line in deltas), default=0) for column in range(len(heads))]
    cells = []
    for row, line in zip(rows, deltas, strict=True):
        values = [figure(value, row.unit) for value in row.values]
        cells.append((row.label, *map(_with_delta, values, line, widths)))
    best = frozenset((index, column + 1) for index, row in enumerate(rows) for column in row.best)
    return Sheet(title, ("", *heads), tuple(cells), best, _remark(rows))


def _remark(rows: Sequence[Row]) -> str:
    """Say what stars mean or, where values differ but nothing is clear, why there are none."""
    if any(row.best for row in rows):
        return f"{BEST} {BEST_MEANS}"
    return f"No {BEST}: {NOTHING_CLEAR}" if any(row.ranked for row in rows) else ""


def _with_delta(value: str, change: str, width: int) -> str:
    """Join a value and its delta, aligned with the other deltas of the column."""
    return f"{value} {change.rjust(width)}" if width else value


def config_sheet(comparison: Comparison) -> Sheet:
    """Write the config values of each column that the comparison holds."""
    heads = tuple(column.title for column in comparison.columns)
    rows = (tuple(map(one_line, (key, *values))) for key, values in comparison.config)
    return Sheet(CONFIG_TITLE, ("", *heads), tuple(rows))
