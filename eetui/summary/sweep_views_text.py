"""A sweep's views as plain rows and sentences, for the command line and the console."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from core.config.messages import shortened
from core.metrics import ACCURACY, FINAL_PPL, FLOP_SAVINGS, Metric, Value
from core.sweeps.combinations import Combination, title
from core.sweeps.heat import HeatCell, HeatTable
from core.sweeps.importance import Importance
from core.sweeps.purposes import Choice, FrontPoint
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.harmless import one_line

Rows = list[tuple[str, ...]]
SHADES = " ░▒▓█"
"""Shade of a cell, fuller where it is better."""
STAR, SOME = "★", "°"
ON_FRONT, NOISE = "●", "·"
BAR = 24
FRONT_HEADS = ("", "combination", "FLOP savings", "Final PPL", "runs")
BEST_HEADS = ("purpose", "take", "", "Final PPL", "Accuracy", "FLOP savings")
NOTHING_VARIED = "No table: the sweep varies nothing, or no run has a figure yet."
NO_FRONT = "No front yet: no combination has both a final PPL and FLOP savings."
NO_BEST = "Nothing to choose from yet: no combination's runs have all finished."
MOST_NAMED = 4


def word(name: str) -> str:
    """Return the last part of a dotted name, harmless and on one line."""
    return one_line(name.rpartition(".")[2])


def name_of(one: Combination) -> str:
    """Return a combination's values, harmless and on one line."""
    return one_line(title(one))


def heat_heads(table: HeatTable) -> tuple[str, ...]:
    """Return the heads of the table: what stands down and across, then the values across."""
    down, across = word(table.rows.name), word(table.columns.name)
    labels = table.columns.labels if across else (table.metric.label,)
    return (f"{down} \\ {across}" if across else down, *map(one_line, labels))


def heat_rows(table: HeatTable) -> Rows:
    """Return the rows of the table, each with its value down first."""
    return [
        (one_line(label), *(heat_cell(cell, table.metric) for cell in cells))
        for label, cells in zip(table.rows.labels, table.cells, strict=True)
    ]


def heat_cell(cell: HeatCell | None, metric: Metric) -> str:
    """Write a cell: its figure, its shade, a star where it leads, and ° where runs of it have not finished."""
    if cell is None:
        return ""
    shade = " " if cell.warmth is None else SHADES[round(cell.warmth * (len(SHADES) - 1))]
    marks = f"{STAR if cell.leads else ' '}{SOME if cell.finished < cell.runs else ' '}"
    return f"{figure(cell.value, metric.unit) if cell.value else MISSING} {shade}{marks}"


def heat_title(table: HeatTable) -> str:
    """Write what the table is of."""
    averaged = f", averaged over {', '.join(map(word, table.averaged))}" if table.averaged else ""
    return f"{table.metric.label}, mean ± deviation over seeds{averaged}"


def heat_notes(table: HeatTable) -> Iterator[str]:
    """Yield what the marks mean, as far as there are any."""
    cells = [cell for row in table.cells for cell in row if cell]
    if not any(cell.value for cell in cells):
        yield f"no run has {table.metric.label} yet"
        return
    if any(cell.warmth is not None for cell in cells):
        yield f"fuller shade is better, by rank; {STAR} best, and what noise can't be told from it (95%, Holm)"
    if any(cell.finished < cell.runs for cell in cells):
        yield f"{SOME} some of its runs have not finished"
    if table.others:
        yield f"{table.others} of other evaluation windows, not ranked"
    if table.ranking.untested:
        yield f"{table.ranking.untested:,} of the worse cells are not tested"


def front_rows(points: Iterable[FrontPoint], found: Mapping[int, Combination]) -> Rows:
    """Return a row for each point, those on the front marked."""
    return [
        (
            ON_FRONT if one.on_front else "",
            name_of(found[one.point]),
            figure(one.savings, FLOP_SAVINGS.unit),
            figure(one.ppl, FINAL_PPL.unit),
            f"{len(found[one.point].finished)}/{len(found[one.point].cells)}",
        )
        for one in points
    ]


def best_rows(choices: Iterable[Choice]) -> Rows:
    """Return a row for each purpose; a dot marks a choice that noise may explain."""
    return [
        (
            one.purpose,
            name_of(one.best),
            NOISE if one.as_good else "",
            *(_value(one.best.value(metric), metric) for metric in (FINAL_PPL, ACCURACY, FLOP_SAVINGS)),
        )
        for one in choices
    ]


def best_notes(choices: Iterable[Choice]) -> Iterator[str]:
    """Yield, for each choice that noise may explain, what else is as good as far as one can tell."""
    for one in choices:
        if one.as_good:
            names = [name_of(other) for other in one.as_good]
            more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
            why = (
                "of one seed, nothing tells noise" if one.ranking.unknown else "the difference may be noise (95%, Holm)"
            )
            yield f"{NOISE} {one.purpose}: as good may be {', '.join(names[:MOST_NAMED])}{more}; {why}"
        if one.ranking.untested:
            yield f"{one.purpose}: {one.ranking.untested:,} worse ones were not tested"


def importance_rows(found: Importance) -> Rows:
    """Return a row for each field: its name, a bar, its share."""
    return [
        (word(name), "━" * max(round(share * BAR), 0) or "╌", f"{share:.1%}") for name, share in found.shares.items()
    ]


def importance_title(found: Importance) -> str:
    """Write what the shares are of."""
    what = "loss in nats" if found.metric.unit == "ppl" else found.metric.label
    return f"{found.evaluator} (Optuna) over {found.combinations:,} combinations: share in the {what}, mean over seeds"


def importance_note(found: Importance) -> str:
    """Write what the evaluator measures."""
    if found.evaluator == "fANOVA":
        return "fANOVA: share of the variance over all combinations, good and bad"
    return "PED-ANOVA: share in what sets the best tenth apart"


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Yield lines of columns below their heads, the first `left` of them to the left and the others to the right."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in [heads, *rows] if any(heads) else rows:
        cells = (
            cell + " " * (width - cell_len(cell)) if place < left else " " * (width - cell_len(cell)) + cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def heat_data(table: HeatTable | None) -> dict[str, Any] | None:
    """Return the table as data; warmth 1 is the best, `leads` is not known to be worse than it."""
    if table is None:
        return None
    return {
        "metric": table.metric.key,
        "rows": {"name": table.rows.name, "labels": table.rows.labels},
        "columns": {"name": table.columns.name, "labels": table.columns.labels},
        "averaged_over": table.averaged,
        "cells": [[cell and _cell_data(cell) for cell in row] for row in table.cells],
    }


def _cell_data(cell: HeatCell) -> dict[str, Any]:
    more = {"finished": cell.finished, "runs": cell.runs, "warmth": cell.warmth, "leads": cell.leads}
    return {"points": cell.points, **value_data(cell.value), **more}


def front_data(points: Iterable[FrontPoint]) -> list[dict[str, Any]]:
    """Return the points as data, by FLOP savings."""
    return [
        {
            "point": one.point,
            "flop_savings": value_data(one.savings),
            "final_ppl": value_data(one.ppl),
            "on_front": one.on_front,
        }
        for one in points
    ]


def best_data(choices: Iterable[Choice]) -> list[dict[str, Any]]:
    """Return the choices as data; `as_good`: points whose difference may be noise."""
    return [
        {
            "purpose": one.purpose,
            "metric": one.metric.key,
            "point": one.best.point,
            "setting": one.best.setting,
            "as_good": [other.point for other in one.as_good],
        }
        for one in choices
    ]


def importance_data(found: Importance) -> dict[str, Any]:
    """Return the shares as data."""
    return {
        "metric": found.metric.key,
        "evaluator": found.evaluator,
        "combinations": found.combinations,
        "shares": found.shares,
    }


def value_data(value: Value | None) -> dict[str, float | None]:
    """Return mean and deviation as data."""
    return {"mean": None, "deviation": None} if value is None else {"mean": value.mean, "deviation": value.deviation}


def _value(value: Value | None, metric: Metric) -> str:
    return figure(value, metric.unit)


def unknown_shares(reason: object) -> str:
    """Write why nothing is said of the importance."""
    return f"No importance: {shortened(str(reason))}"
