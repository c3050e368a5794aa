"""Runs side by side, as plain data: which rows there are, what stands in them, which value is best, and what follows.

Runs that differ in their seed only share a column and show mean ± standard deviation.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from eetui.compare.advice import Advice, advice, differences, notes
from eetui.compare.columns import Column
from eetui.compare.run_view import TOGETHER, RunView
from eetui.values import Unit as Unit  # a part of what comparisons are
from eetui.values import Value as Value

Better = Literal["lower", "higher"] | None


@dataclass(frozen=True)
class Row:
    """One line of a table: a value for each column, and which columns have the best one.

    Attributes:
        deltas: against the baseline, of the columns that can be held against it: of a PPL the relative difference.
    """

    key: str
    label: str
    unit: Unit
    better: Better
    values: tuple[Value | None, ...]
    best: frozenset[int] = frozenset()
    deltas: tuple[float | None, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the columns differ."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Comparison:
    """All that `eetui compare` shows, in every format."""

    columns: tuple[Column, ...]
    final: tuple[Row, ...]
    training: tuple[Row, ...]
    config: tuple[tuple[str, tuple[str, ...]], ...]
    differences: tuple[str, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...] = ()
    baseline: int | None = None
    """The column that the deltas are against."""
    further: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    """Titled tables of a chart's figures, where they are exported."""


FINAL_ROWS: tuple[tuple[str, str, Unit, Better], ...] = (
    ("final_ppl", "Final PPL (early exit)", "ppl", "lower"),
    ("accuracy", "Accuracy", "share", "higher"),
    ("shallow_ratio", "Shallow ratio (realised)", "share", None),
    ("shallow_target", "Shallow ratio (target)", "share", None),
    ("layer_savings", "Layer savings", "share", "higher"),
    ("flop_savings", "FLOP savings", "share", "higher"),
    ("time_savings", "Time savings (measured)", "share", "higher"),
    ("break_even", "Exit rate at which FLOPs break even", "share", None),
)
"""Rows on the evaluation split, all tokens; the static depths and the oracle follow them."""


def compare(
    runs: Sequence[RunView],
    *,
    group_seeds: bool = True,
    only_changed: bool = False,
    whole_config: bool = False,
    baseline: str | None = None,
) -> Comparison:
    """Put runs side by side.

    Args:
        baseline: name of a run, to hold the other columns against its own.
    """
    columns = _columns(runs) if group_seeds else tuple(Column((run,)) for run in runs)
    base = next((i for i, column in enumerate(columns) if baseline in [run.name for run in column.runs]), None)
    final = _rows(columns, [*FINAL_ROWS, *_static_rows(columns)], base)
    keys = {key for column in columns for run in column.runs for key in run.metrics}
    training = _rows(columns, training_rows(keys), base)
    if only_changed:
        final, training = (tuple(row for row in rows if row.changes) for rows in (final, training))
    return Comparison(
        columns=columns,
        final=final,
        training=training,
        config=_config_rows(columns, whole=whole_config),
        differences=differences(columns, None if base is None else columns[base]),
        advice=advice(columns),
        notes=notes(columns),
        baseline=base,
    )


def _columns(runs: Sequence[RunView]) -> tuple[Column, ...]:
    groups: dict[tuple[Any, ...], list[RunView]] = {}
    for run in runs:
        config = tuple(sorted((key, str(value)) for key, value in run.config.items() if key != "seed"))
        key: tuple[Any, ...] = (run.fingerprint, run.status, config)
        repeat = 0  # the same config and seed once more is no further seed
        while any(other.seed == run.seed for other in groups.get((*key, repeat), ())):
            repeat += 1
        groups.setdefault((*key, repeat), []).append(run)
    columns = [Column(tuple(group)) for group in groups.values()]
    titles = [column.title for column in columns]
    return tuple(
        Column(column.runs, f"{column.runs[0].name} ×{len(column.runs)}")
        if len(column.runs) > 1 and titles.count(column.title) > 1
        else column
        for column in columns
    )


def _static_rows(columns: Sequence[Column]) -> list[tuple[str, str, Unit, Better]]:
    names = dict.fromkeys(
        key for column in columns for run in column.runs for key in run.metrics if key.startswith("eval.")
    )
    order = sorted(names, key=lambda key: (key == "eval.oracle", key == "eval.all blocks", "alone" in key))
    return [(key, f"{key.removeprefix('eval.').capitalize()}, PPL", "ppl", "lower") for key in order]


TRAINING_ROWS: tuple[tuple[str, str, Unit, Better], ...] = (
    ("val_ppl", "early-stop PPL", "ppl", "lower"),
    ("train_ppl", "train PPL, same epoch", "ppl", None),
    ("best_epoch", "best epoch", "count", None),
    ("epochs", "epochs trained", "count", None),
    ("exit_loss_first", "exit loss, first epoch", "loss", None),
    ("exit_loss_last", "exit loss, last epoch", "loss", None),
    ("avg_label", "avg_label", "signal", None),
    ("threshold", "threshold", "signal", None),
    ("hard_tokens", "hard tokens", "count", None),
)


def training_rows(keys: Collection[str]) -> list[tuple[str, str, Unit, Better]]:
    """Later blocks train on their own method's hard tokens, so their PPLs say so and are not ranked."""
    blocks = sorted({int(key.partition(".")[0][5:]) for key in keys if key.startswith("block")})
    parts = [(TOGETHER, "All blocks together:"), *((f"block{block}", f"Block {block}") for block in blocks)]
    rows: list[tuple[str, str, Unit, Better]] = []
    for (part, name), (key, label, unit, better) in itertools.product(parts, TRAINING_ROWS):
        if f"{part}.{key}" in keys:
            own = of_own_tokens(f"{part}.{key}", unit)
            label = f"{name} {label}" + (" (own hard tokens)" if own else "")
            rows.append((f"{part}.{key}", label, unit, None if own else better))
    return rows


def of_own_tokens(key: str, unit: Unit) -> bool:
    """Whether a figure is of the run's own hard tokens, so that those of two runs can't be held against each other."""
    return unit == "ppl" and key.startswith("block") and not key.startswith("block0.")


def _rows(
    columns: Sequence[Column], rows: Sequence[tuple[str, str, Unit, Better]], base: int | None
) -> tuple[Row, ...]:
    made = []
    for key, label, unit, better in rows:
        values = tuple(column.value(key) for column in columns)
        if any(values):
            row = Row(key, label, unit, better, values, _best(columns, values, better))
            made.append(row if base is None else replace(row, deltas=_deltas(row, columns, base)))
    return tuple(made)


def _deltas(row: Row, columns: Sequence[Column], base: int) -> tuple[float | None, ...]:
    """Against the baseline's value; PPLs only where they are of the same tokens."""
    against = row.values[base]
    deltas: list[float | None] = []
    for index, (column, value) in enumerate(zip(columns, row.values, strict=True)):
        same_tokens = column.fingerprint == columns[base].fingerprint and not of_own_tokens(row.key, row.unit)
        if index == base or value is None or against is None or not same_tokens:
            deltas.append(None)
        elif row.unit == "ppl":
            deltas.append(value.mean / against.mean - 1)
        else:
            deltas.append(value.mean - against.mean)
    return tuple(deltas)


def _best(columns: Sequence[Column], values: Sequence[Value | None], better: Better) -> frozenset[int]:
    """The columns with the best value among those of the same tokens, where they are not all equal."""
    if better is None:
        return frozenset()
    best: set[int] = set()
    choose: Callable[[list[float]], float] = min if better == "lower" else max
    for fingerprint in {column.fingerprint for column in columns}:
        here = {i: v.mean for i, v in enumerate(values) if v is not None and columns[i].fingerprint == fingerprint}
        if len(set(here.values())) > 1:
            best |= {index for index, mean in here.items() if mean == choose(list(here.values()))}
    return frozenset(best)


def _config_rows(columns: Sequence[Column], *, whole: bool) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What differs in the config, or all of it."""
    keys = dict.fromkeys(key for column in columns for key in column.runs[0].config if key != "seed")
    rows = []
    for key in keys:
        known = [column.runs[0].config[key] for column in columns if key in column.runs[0].config]
        if whole or len({_shown(value) for value in known}) > 1:
            values = tuple(_shown(column.runs[0].config.get(key, "–")) for column in columns)
            rows.append((key, values))
    return tuple(rows)


def _shown(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
