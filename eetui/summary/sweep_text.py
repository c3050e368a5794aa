"""A sweep in words: its plan, its combinations with their figures, and the list of sweeps."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.metrics import ACCURACY, FINAL_PPL, FLOP_SAVINGS, LAYER_SAVINGS
from core.store.stored_sweeps import StoredSweep
from core.sweeps.combinations import Combination, standings, varied, written
from core.sweeps.heat import HeatTable
from core.sweeps.importance import Importance
from core.sweeps.objective import front, read_constraint, read_objectives
from core.sweeps.purposes import Choice, savings_front
from eetui.drawing.figures import duration, figure
from eetui.drawing.formats import json_text
from eetui.drawing.harmless import one_line
from eetui.summary.sweep_views_text import (
    BEST_HEADS,
    FRONT_HEADS,
    NO_BEST,
    NO_FRONT,
    NOTHING_VARIED,
    aligned,
    best_notes,
    best_rows,
    front_rows,
    heat_heads,
    heat_notes,
    heat_rows,
    heat_title,
    importance_note,
    importance_rows,
    importance_title,
    value_data,
    word,
)

if TYPE_CHECKING:
    from core.sweeps.plan import Outline

SHOWN = (FINAL_PPL, ACCURACY, LAYER_SAVINGS, FLOP_SAVINGS)
"""Figures that are shown of each combination."""


def sweep_lines(sweep: StoredSweep, found: Sequence[Combination], width: int) -> Iterator[str]:
    """Yield a head and one line for each combination of values, its figures over the seeds that finished."""
    counts = standings(cell for one in found for cell in one.cells)
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no runs"
    yield f"{one_line(sweep.name)} (sweep {sweep.number}): {said}"
    search, best = sweep.spec["search"], best_points(sweep, found)
    if search is not None:
        kept = "".join(f", {text}" for text in search["constraints"])
        yield f"search: {search['sampler']}, {search['trials']} trials, {search['objective']}{kept}; * best"
    heads = ["", *map(word, varied(found)), "done", *(metric.label for metric in SHOWN)]
    rows = [
        ["*" if one.point in best else "", *(one_line(written(value, name)) for name, value in one.setting.items())]
        + [f"{len(one.finished)}/{len(one.cells)}"]
        + [figure(one.value(metric), metric.unit) for metric in SHOWN]
        for one in found
    ]
    for line in aligned(heads, rows, left=len(heads)):
        yield line[: max(width, 40)]


def view_lines(found: Sequence[Combination], table: HeatTable | None, choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the heat table, the front of PPL against FLOP savings, and the best by purpose."""
    yield from ("", NOTHING_VARIED) if table is None else ("", heat_title(table))
    if table is not None:
        yield from aligned(heat_heads(table), heat_rows(table))
        yield from heat_notes(table)
    front = [one for one in savings_front(found) if one.on_front]
    yield from ("", "Front of PPL against FLOP savings") if front else ("", NO_FRONT)
    if front:
        yield from aligned(FRONT_HEADS, front_rows(front, {one.point: one for one in found}), left=2)
    yield from ("", "Best by purpose") if choices else ("", NO_BEST)
    if choices:
        yield from aligned(BEST_HEADS, best_rows(choices), left=3)
        yield from best_notes(choices)


def importance_lines(found: Importance) -> Iterator[str]:
    """Yield the importance of what the sweep varies."""
    yield from ("", f"Importance: {importance_title(found)}")
    yield from aligned(("", "", ""), importance_rows(found), left=2)
    yield importance_note(found)


def sweep_json(sweep: StoredSweep, found: Sequence[Combination], views: Mapping[str, object]) -> str:
    """Write a sweep with all its runs and its views as JSON, unrounded."""
    return json_text(
        {
            "number": sweep.number,
            "name": sweep.name,
            "spec": sweep.spec,
            "best": [*best_points(sweep, found)],
            "combinations": [
                {
                    "point": one.point,
                    "setting": one.setting,
                    "runs": one.runs,
                    "finished": len(one.finished),
                    "figures": {metric.key: value_data(one.value(metric)) for metric in SHOWN},
                }
                for one in found
            ],
            **views,
            "runs": [cell for one in found for cell in one.cells],
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


def best_points(sweep: StoredSweep, found: Sequence[Combination]) -> Sequence[int]:
    """Return the combinations that a search looked for: the best ones, or the front."""
    search = sweep.spec["search"]
    if search is None:
        return ()
    cells = [cell for one in found for cell in one.cells]
    return front(cells, read_objectives(search["objective"]), map(read_constraint, search["constraints"]))


def _counted(stages: Mapping[str, int]) -> str:
    return f"{sum(stages.values())} stages" + (
        f" ({', '.join(f'{count} {kind}' for kind, count in stages.items())})" if stages else ""
    )
