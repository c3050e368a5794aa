"""Figures of many runs from columns of the store, to be grouped by config values: of their logs nothing is read.

Runs that are alike in what they are grouped by come together, column by column: 100,000 runs one by one take seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress
from typing import Any

from core.config.stored import completed
from core.exits._facts import MethodFacts
from core.metrics import STORED, Metric
from core.store.reader import Query, Reader

OWN_COLUMNS = ("preset", "experiment", "name", "status")
"""Columns of runs, beside the figures, that runs can be grouped by; method and seed are in the config as well."""
WINDOW_KEYS = ("data.seq_len", "data.bos_token")
"""Config values that windows of one text differ by."""
WINDOWS_OF = "(SELECT max(tokens) FROM results WHERE run_id = runs.id AND name = 'early exit') AS eval_tokens"
FINGERPRINT = "json_extract(record, '$.fingerprint') AS fingerprint"


@dataclass(frozen=True)
class AlikeRuns:
    """Runs with the same values, status and windows, in the order of the query.

    Attributes:
        values: what they are grouped by, in the order asked for.
        windows: identity of their evaluation windows: text, length and number.
        runs, seeds: of each run.
        figures: each figure of each run, None where a run has none.
    """

    values: tuple[Any, ...]
    status: str
    windows: tuple[object, ...]
    runs: tuple[int, ...]
    seeds: tuple[int, ...]
    figures: Mapping[Metric, tuple[float | None, ...]]

    def having(self, metric: Metric) -> "AlikeRuns":
        """Return those of them that have a figure."""
        kept = [figure is not None for figure in self.figures[metric]]
        return self if all(kept) else self._chosen(kept)

    def lacking(self, metric: Metric) -> "AlikeRuns":
        """Return those of them that do not have a figure."""
        return self._chosen([figure is None for figure in self.figures[metric]])

    def _chosen(self, kept: Sequence[bool]) -> "AlikeRuns":
        figures = {metric: tuple(compress(column, kept)) for metric, column in self.figures.items()}
        runs, seeds = tuple(compress(self.runs, kept)), tuple(compress(self.seeds, kept))
        return replace(self, runs=runs, seeds=seeds, figures=figures)


def stored_figures(reader: Reader, query: Query, keys: Sequence[str]) -> list[AlikeRuns]:
    """Return the figures of the runs of a query.

    Args:
        keys: dotted names of config values, and columns: `OWN_COLUMNS` and those of metrics.
    """
    figures = [column.name for column, _ in STORED]
    columns = [key for key in keys if key in OWN_COLUMNS or key in figures]
    paths = (*WINDOW_KEYS, "method", *(key for key in keys if key not in columns))
    config = f"json_extract(config, {', '.join(_path(name) for name in paths)}) AS chosen"
    alike = (config, "method", "status", FINGERPRINT, WINDOWS_OF, *columns)
    found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in reader.run_tuples(query, (*alike, "id", "seed", *figures)):
        found.setdefault(row[: len(alike)], []).append(row[len(alike) :])
    return [_alike(dict(zip(columns, head[5:], strict=True)), head, paths, keys, rows) for head, rows in found.items()]


def _alike(
    own: dict[str, Any],
    head: tuple[Any, ...],
    paths: tuple[str, ...],
    keys: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> AlikeRuns:
    """Return the runs of rows that begin alike.

    Args:
        own: their columns.
        head: what they begin with: config values, method, status, text, number of tokens.
    """
    text, method, status, fingerprint, tokens, *_ = head
    chosen = dict(zip(paths, _values(text, paths), strict=True))
    chosen["method"] = _label(str(chosen["method"] or method))
    runs, seeds, *figures = zip(*rows, strict=True)
    return AlikeRuns(
        values=tuple(chosen[key] if key in chosen else own[key] for key in keys),
        status=status,
        windows=(fingerprint, *(chosen[key] for key in WINDOW_KEYS), tokens),
        runs=runs,
        seeds=seeds,
        figures={metric: column for (_, metric), column in zip(STORED, figures, strict=True)},
    )


def _path(name: str) -> str:
    """Return the JSON path of a dotted name as an SQL text."""
    quoted = ".".join(f'"{part}"' for part in name.split("."))
    return "'$." + quoted.replace("'", "''") + "'"


@cache
def _values(text: str, paths: tuple[str, ...]) -> tuple[Any, ...]:
    """Return config values from the JSON list of them; those that are newer than the run as they were before."""
    earlier = completed({})
    found = (
        value if value is not None else earlier.get(path) for path, value in zip(paths, json.loads(text), strict=True)
    )
    return tuple(tuple(value) if isinstance(value, list) else value for value in found)


@cache
def _label(reference: str) -> str:
    return MethodFacts(reference, False, "rank").label
