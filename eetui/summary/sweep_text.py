"""A sweep in words: its plan, its combinations with their figures, and the list of sweeps."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.metrics import STORED, Metric, Value
from core.store.sweeps import StoredSweep
from core.sweeps.objective import front, read_constraint, read_objectives
from eetui.drawing.figures import duration, figure
from eetui.drawing.formats import json_text

if TYPE_CHECKING:
    from core.sweeps.plan import Outline

SHOWN = ("final_ppl", "accuracy", "layer_savings", "flop_savings")
"""Columns of the figures that are shown of each combination."""


def sweep_lines(sweep: StoredSweep, cells: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Yield a head and one line for each combination of values, its figures over the seeds that finished."""
    counts = Counter(cell["status"] for cell in cells)
    yield f"{sweep.name} (sweep {sweep.number}): {', '.join(f'{count} {status}' for status, count in counts.items())}"
    search, best = sweep.spec["search"], _best(sweep, cells)
    if search is not None:
        kept = "".join(f", {text}" for text in search["constraints"])
        yield f"search: {search['sampler']}, {search['trials']} trials, {search['objective']}{kept}; * best"
    heads = ["", *_varied(cells), "done", *(metric.label for _, metric in _figures())]
    rows = [
        ["*" if one["point"] in best else "", *(_word(value) for value in one["setting"].values())]
        + [f"{one['finished']}/{one['runs']}"]
        + [figure(value, metric.unit) for value, metric in zip(one["values"], _metrics(), strict=True)]
        for one in combinations(cells)
    ]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in [heads, *rows]:
        yield "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()[: max(width, 40)]


def combinations(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each combination of values with its figures: mean and, over several seeds, deviation."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(cell["point"], []).append(cell)
    return [
        {
            "point": point,
            "setting": group[0]["setting"],
            "runs": len(group),
            "finished": sum(cell["status"] == "finished" for cell in group),
            "values": [_over_seeds(group, column.name) for column, _ in _figures()],
        }
        for point, group in groups.items()
    ]


def sweep_json(sweep: StoredSweep, cells: Sequence[Mapping[str, Any]]) -> str:
    """Write a sweep with all its runs as JSON, unrounded."""
    return json_text(
        {
            "number": sweep.number,
            "name": sweep.name,
            "spec": sweep.spec,
            "best": [*_best(sweep, cells)],
            "runs": [*cells],
        }
    )


def list_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each sweep."""
    if not rows:
        yield "no sweeps"
    for row in rows:
        counts = ", ".join(f"{count} {status}" for status, count in row["runs"].items()) or "no runs left"
        yield f"{row['id']:>4}  {datetime.fromtimestamp(row['created']):%Y-%m-%d %H:%M}  {row['name']}  {counts}"


def plan_lines(plan: "Outline") -> Iterator[str]:
    """Yield the plan of a sweep, a line for each figure."""
    yield f"runs      {plan.runs} ({plan.settings} combinations × {plan.seeds} seeds)"
    yield f"to train  {_counted(plan.to_train)}"
    yield f"reused    {_counted(plan.reused)}"
    if plan.seconds is None:
        yield "time      not estimated: too many different models, or a pretrained one"
    else:
        at_once = f" with {plan.jobs} at once" if plan.jobs > 1 else ""
        yield f"time      {duration(plan.seconds.low)} to {duration(plan.seconds.high)}{at_once}, at the speed now"
    yield f"memory    {plan.memory / 1e9:.2f} GB"
    for name in plan.from_tokens:
        yield (
            f"{name} changes nothing that is trained: its runs repeat the choice of thresholds and the evaluation "
            f"only; every value of it is also read off one run's tokens (eetui calibrate, Inspect)"
        )


def _best(sweep: StoredSweep, cells: Sequence[Mapping[str, Any]]) -> Sequence[int]:
    """Return the combinations that a search looked for: the best ones, or the front."""
    search = sweep.spec["search"]
    if search is None:
        return ()
    return front(cells, read_objectives(search["objective"]), map(read_constraint, search["constraints"]))


def _counted(stages: Mapping[str, int]) -> str:
    return f"{sum(stages.values())} stages" + (
        f" ({', '.join(f'{count} {kind}' for kind, count in stages.items())})" if stages else ""
    )


def _figures() -> list[tuple[Any, Metric]]:
    return [(column, metric) for column, metric in STORED if column.name in SHOWN]


def _metrics() -> list[Metric]:
    return [metric for _, metric in _figures()]


def _over_seeds(cells: Sequence[Mapping[str, Any]], column: str) -> Value | None:
    values = [cell[column] for cell in cells if cell["status"] == "finished" and cell[column] is not None]
    if not values:
        return None
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _varied(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name.rpartition(".")[2] for name in cells[0]["setting"]] if cells else []


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
