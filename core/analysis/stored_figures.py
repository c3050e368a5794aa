"""Figures of many runs from columns of the store, to be grouped by config values: of their logs nothing is read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
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


@dataclass(frozen=True)
class StoredFigures:
    """A run's figures.

    Attributes:
        values: what it is grouped by, in the order asked for.
        windows: identity of its evaluation windows: text, length and number.
        figures: the figures that it has.
    """

    run: int
    name: str
    seed: int
    status: str
    values: tuple[Any, ...]
    windows: tuple[object, ...]
    figures: dict[Metric, float]


def stored_figures(reader: Reader, query: Query, keys: Sequence[str]) -> Iterator[StoredFigures]:
    """Yield the figures of the runs of a query.

    Args:
        keys: dotted names of config values, and columns: `OWN_COLUMNS` and those of metrics.
    """
    columns = {*OWN_COLUMNS, *(column.name for column, _ in STORED)}
    paths = (*WINDOW_KEYS, "method", *(key for key in keys if key not in columns))
    config = f"json_extract(config, {', '.join(_path(name) for name in paths)}) AS chosen"
    fingerprint = "json_extract(record, '$.fingerprint') AS fingerprint"
    asked = ("id", "seed", *OWN_COLUMNS, *(column.name for column, _ in STORED), config, fingerprint, WINDOWS_OF)
    for row in reader.runs(query, asked):
        chosen = dict(zip(paths, _values(row["chosen"], paths), strict=True))
        chosen["method"] = _label(str(chosen["method"] or row["method"]))
        yield StoredFigures(
            run=row["id"],
            name=row["name"],
            seed=row["seed"],
            status=row["status"],
            values=tuple(chosen[key] if key in chosen else row[key] for key in keys),
            windows=(row["fingerprint"], *(chosen[key] for key in WINDOW_KEYS), row["eval_tokens"]),
            figures={metric: row[column.name] for column, metric in STORED if row[column.name] is not None},
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
