"""Text of the Sweep screen: its title, the list of sweeps, the cells of one, the points of its front."""

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from core.metrics import Metric
from core.sweeps.combinations import Combination, known_metrics, standing, standings, varied, written
from core.sweeps.purposes import FrontPoint
from eetui.drawing.figures import figure
from eetui.drawing.harmless import one_line
from eetui.drawing.palette import Palette
from eetui.drawing.series import Series
from eetui.drawing.status import STATUS_STYLES
from eetui.summary.sweep_text import SHOWN
from eetui.summary.sweep_views_text import word
from eetui.sweeps.data import Found

SIGNS = {name: sign for name, (sign, _) in STATUS_STYLES.items()} | {"waiting": "…", "pruned": "–"}
MOST_MARKS = 24
"""Seeds of a combination that have a mark of their own."""
LEGEND = "✓ finished  ▶ running  … waiting  ■ interrupted  ✗ failed  – pruned; a mark for each seed"
NO_SWEEPS = "No sweeps yet. eetui sweep -m loss -m softmax --set hard_ratio=0.3,0.5,0.7 --seeds 3 makes one."
READING = "reading …"


def title_line(found: Found | None, newest: int, more: bool) -> Text:
    """Write the name of the sweep that is shown and how its runs stand."""
    line = Text("Sweep", "bold", no_wrap=True, overflow="ellipsis")
    if found is None:
        return line.append(f"  {newest}{'+' if more else ''} sweeps", "dim not bold")
    counts = standings(cell for one in found.combinations for cell in one.cells)
    said = " · ".join(f"{count:,} {name}" for name, count in counts.items()) or "no runs left"
    line.append(f"  {one_line(found.sweep.name)}", "not bold")
    return line.append(f"  {len(found.combinations):,} combinations · {said}", "dim not bold")


def counts_text(counts: Mapping[str, int] | None) -> str:
    """Write how many runs of a sweep stand how, as signs."""
    if counts is None:
        return ""
    return " ".join(f"{SIGNS[name]}{counts[name]:,}" for name in SIGNS if counts.get(name)) or "no runs left"


def cell_heads(found: Found) -> tuple[str, ...]:
    """Return the heads of the cells: fields, seeds, runs done, figures."""
    figures = [metric.label.replace(" (early exit)", "") for metric in _figures(found)]
    return ("", *map(word, varied(found.combinations)), "seeds", "done", *figures)


def cell_rows(found: Found) -> list[tuple[str, ...]]:
    """Return a row for each combination; `*` marks what a search looked for."""
    names, metrics = varied(found.combinations), _figures(found)
    return [
        (
            "*" if one.point in found.best else "",
            *(one_line(written(one.setting[name], name)) if name in one.setting else "" for name in names),
            seed_marks(one),
            f"{len(one.finished)}/{len(one.cells)}",
            *(figure(one.value(metric), metric.unit) for metric in metrics),
        )
        for one in found.combinations
    ]


def _figures(found: Found) -> list[Metric]:
    known = known_metrics(found.combinations)
    return [metric for metric in SHOWN if metric in known]


def seed_marks(one: Combination) -> str:
    """Return a sign for each run, by seed."""
    signs = "".join(SIGNS[standing(cell)] for cell in one.cells[:MOST_MARKS])
    return signs + (f"+{len(one.cells) - MOST_MARKS}" if len(one.cells) > MOST_MARKS else "")


def coloured_marks(text: str, palette: Palette) -> Text:
    """Return the signs of seeds in the colours of their statuses."""
    styles = {sign: palette.of_status(name) for name, sign in SIGNS.items()}
    return Text.assemble(*((sign, styles.get(sign, "")) for sign in text))


def front_series(points: Sequence[FrontPoint], found: Mapping[int, Combination]) -> list[Series]:
    """Return the front as a line and every combination as a point, a hue and sign for each method; losses in nats."""
    front = [one for one in points if one.on_front]
    line = Series("front", [one.savings.mean for one in front], [math.log(one.ppl.mean) for one in front], 0, "behind")
    groups: dict[str, list[FrontPoint]] = {}
    for one in points:
        method = found[one.point].setting.get("method", "")
        groups.setdefault(one_line(written(method, "method")) or "combinations", []).append(one)
    dots = [
        Series(name, [one.savings.mean for one in group], [math.log(one.ppl.mean) for one in group], hue, "scatter")
        for hue, (name, group) in enumerate(groups.items())
    ]
    return [line, *dots]


def front_note(points: Sequence[FrontPoint]) -> str:
    """Write what the chart shows."""
    front = sum(one.on_front for one in points)
    return (
        f"{len(points):,} combinations, {front:,} on the front (●): none beats them in both; lower and further right "
        "is better."
    )
