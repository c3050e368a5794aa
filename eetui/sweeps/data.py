"""What the Sweep screen asks for, and what a thread reads and works out for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import EetuiError, UsageError
from core.metrics import FINAL_PPL, STORED, Metric
from core.store.stored_sweeps import StoredSweep, count_standings, find_sweep
from core.sweeps.combinations import Combination, known_metrics, stored_combinations, varied
from core.sweeps.heat import HeatTable, chosen_axes, heat_table
from core.sweeps.importance import Importance, importance
from core.sweeps.purposes import Choice, FrontPoint, best_by_purpose, savings_front
from eetui.summary.shown_reader import ShownReader
from eetui.summary.sweep_text import best_points
from eetui.summary.sweep_views_text import unknown_shares

View = Literal["cells", "heat", "front", "best", "importance"]
VIEWS: tuple[View, ...] = ("cells", "heat", "front", "best", "importance")
WITHINS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Shares by which a PPL may be above the best one, to choose from."""


@dataclass(frozen=True)
class Wanted:
    """What is to be shown.

    Attributes:
        sweep: its number.
        version: of the database, which changes with what is in it.
        metric: key of the metric of the heat table and the importance; empty: final PPL.
        rows, columns: fields of the heat table; empty: as they come.
        within: share by which a PPL may be above the best one.
    """

    sweep: int
    version: object
    view: View = "cells"
    metric: str = ""
    rows: str = ""
    columns: str = ""
    within: float = 0.01


@dataclass(frozen=True)
class Found:
    """A sweep as it is now, and the content of the view that was wanted; None of the others.

    Attributes:
        wanted: what this is the answer to.
        best: combinations that its search looked for.
    """

    wanted: Wanted
    sweep: StoredSweep
    combinations: tuple[Combination, ...]
    best: frozenset[int] = frozenset()
    table: HeatTable | None = None
    front: tuple[FrontPoint, ...] = ()
    choices: tuple[Choice, ...] = ()

    @property
    def by_point(self) -> dict[int, Combination]:
        """The combinations by their number."""
        return {one.point: one for one in self.combinations}


def read(database: Path, wanted: Wanted, before: Found | None) -> Found:
    """Read a sweep and work out the view that is wanted.

    Args:
        before: the last answer, whose combinations are taken where nothing has changed since.

    Raises:
        EetuiError: the database can't be read, or the sweep is gone.
    """
    with ShownReader(database) as reader:
        known = before is not None and (before.wanted.sweep, before.wanted.version) == (wanted.sweep, wanted.version)
        if before is not None and known:
            sweep, found = before.sweep, before.combinations
        else:
            sweep = find_sweep(reader, str(wanted.sweep))
            found = tuple(stored_combinations(reader, sweep))
        view = wanted.view
        return Found(
            wanted,
            sweep,
            found,
            frozenset(best_points(sweep, found)) if view == "cells" else frozenset(),
            _table(found, wanted) if view == "heat" else None,
            tuple(savings_front(found)) if view == "front" else (),
            best_by_purpose(found, wanted.within, reader) if view == "best" else (),
        )


def count(database: Path, sweeps: Sequence[int]) -> dict[int, dict[str, int]]:
    """Count the runs of sweeps by how they stand; none where the database can't be read now."""
    try:
        with ShownReader(database) as reader:
            return {number: count_standings(reader, number) for number in sweeps}
    except EetuiError:
        return {}


def _table(found: Sequence[Combination], wanted: Wanted) -> HeatTable | None:
    names = varied(found)
    rows, columns = (name if name in names else None for name in (wanted.rows, wanted.columns))
    return heat_table(found, metric_of(found, wanted.metric), rows, columns)


def metric_of(found: Sequence[Combination], key: str) -> Metric | None:
    """Return the metric of that key, or the final PPL, or the first that the sweep has; None without any."""
    known = known_metrics(found)
    wanted = next((metric for _, metric in STORED if metric.key == key), FINAL_PPL)
    return wanted if wanted in known else next(iter(known), None)


def next_metric(found: Sequence[Combination], key: str, step: int) -> str:
    """Return the key of the next metric that the sweep has."""
    known, now = known_metrics(found), metric_of(found, key)
    return known[(known.index(now) + step) % len(known)].key if now in known else key


def turned_axes(
    found: Sequence[Combination], rows: str, columns: str, turn: Literal["rows", "columns"]
) -> tuple[str, str]:
    """Return the fields down and across after one of them went on to the next field; they change places if need be."""
    names = varied(found)
    if not names:
        return rows, columns
    rows, columns = chosen_axes(names, rows if rows in names else None, columns if columns in names else None)
    if not columns:
        return rows, columns
    moved, other = (rows, columns) if turn == "rows" else (columns, rows)
    following = names[(names.index(moved) + 1) % len(names)]
    other = moved if following == other else other
    return (following, other) if turn == "rows" else (other, following)


def shares(found: Sequence[Combination], key: str) -> Importance | str:
    """Work out the importance of each field, or return why there is none; takes seconds."""
    try:
        return importance(found, metric_of(found, key) or FINAL_PPL)
    except UsageError as error:
        return unknown_shares(error)
    except EetuiError as error:
        return str(error)
