"""The time of a run: a table of all stages for the command line, and lines of one stage for the Live screen."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.state import RunState, StageState
from eetui.drawing.figures import MISSING, duration
from eetui.drawing.formats import json_text
from eetui.drawing.palette import Palette
from eetui.summary.profile import REST, Part, peak_of, profile_object, run_parts, stage_parts, total

HEADS = ("part", "time", "share", "GFLOP/s", "of peak")
WIDTHS = (14, 8, 6, 9, 7)
SMALLEST_SHARE = 0.0005
"""Smallest share of a stage's time for a row of its own; smaller parts are summed under `other`."""
HOW = "eetui run --profile times the parts of every stage"


def profile_tables(state: RunState) -> RenderableType:
    """Show every stage with its parts, and the sum of all stages."""
    peak = peak_of(state)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for head in HEADS:
        table.add_column(head, no_wrap=True, justify="left" if head == "part" else "right")
    for stage in state.stages:
        _add_stage(table, stage, peak)
    parts = run_parts(state)
    _add_parts(table, "this run", parts, peak)
    return Group(Text(_peak_text(peak)), table)


def profiles_json(states: Mapping[int, RunState], names: Mapping[int, str]) -> str:
    """Write the profiles as a JSON list with an object for each run."""
    found = [{"id": run, "name": names[run], "profile": profile_object(state)} for run, state in states.items()]
    return json_text(found)


def stage_profile(stage: StageState, peak: float | None, width: int, height: int, style: Palette) -> Text:
    """Show a stage's parts, one a line; if `height` is too small for all, the largest."""
    if stage.profile is None:
        waiting = "its parts are shown when it ends, in a run that is profiled: " if stage.seconds is None else ""
        text = Text(f"{stage.name} is not profiled; {waiting}{HOW}", style.quiet)
        text.truncate(width, overflow="ellipsis")
        return text
    parts = stage_parts(stage.profile)
    whole = total(parts, "all")
    rows = [*_largest(parts, whole.seconds, height - 2), whole]
    lines = [Text(_line(HEADS), "bold")]
    lines += [Text(_line(cells(part, whole.seconds, peak)), "bold" if part is whole else "") for part in rows]
    if stage.reused:
        lines[0].append("  as it was computed, in a sibling run or before")
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines)


def cells(part: Part, whole: float, peak: float | None) -> tuple[str, ...]:
    """Write a part's figures, in the order of `HEADS`."""
    rate = part.flops_per_second
    return (
        part.name,
        f"{part.seconds:.2f}s" if part.seconds < 60 else duration(part.seconds),
        f"{part.seconds / whole:.1%}" if whole else MISSING,
        "" if rate is None else gigaflops(rate),
        "" if rate is None else share_of_peak(rate, peak),
    )


def gigaflops(rate: float) -> str:
    """Write FLOP/s as GFLOP/s, without the unit."""
    return f"{rate / 1e9:,.1f}" if rate >= 1e8 else f"{rate / 1e9:.1g}"


def share_of_peak(rate: float, peak: float | None) -> str:
    """Write a rate as a share of the peak, the rate of matmuls."""
    if not peak:
        return MISSING
    return f"{rate / peak:.0%}" if rate >= peak / 100 else "<1%"


def _add_stage(table: Table, stage: StageState, peak: float | None) -> None:
    if stage.reused:
        table.add_row(stage.name, "reused", duration(stage.seconds), "", "", "", end_section=True)
    elif stage.profile is not None:
        _add_parts(table, stage.name, stage_parts(stage.profile), peak)


def _add_parts(table: Table, name: str, parts: Sequence[Part], peak: float | None) -> None:
    """Add a row for each part and a bold one for their sum."""
    whole = total(parts, "all")
    rows = [*_largest(parts, whole.seconds, len(parts)), whole]
    for index, part in enumerate(rows):
        style = "bold" if part is whole else None
        table.add_row(name if index == 0 else "", *cells(part, whole.seconds, peak), style=style)
    table.add_section()


def _largest(parts: Sequence[Part], whole: float, count: int) -> list[Part]:
    """Return at most `count` parts in their order; the rest is added to `other`."""
    by_size = sorted((part for part in parts if part.name != REST), key=lambda part: part.seconds, reverse=True)
    shown = [part for part in by_size if part.seconds >= SMALLEST_SHARE * whole][: max(count - 1, 0)]
    rest = total((part for part in parts if part not in shown), REST)
    return [part for part in parts if part in shown] + ([rest] if rest.seconds >= SMALLEST_SHARE * whole else [])


def _line(texts: Sequence[str]) -> str:
    first, *others = (f"{text:>{width}}" for text, width in zip(texts, WIDTHS, strict=True))
    return "  ".join([f"{first.strip():<{WIDTHS[0]}}", *others])


def _peak_text(peak: float | None) -> str:
    return "" if peak is None else f"matmuls reached {gigaflops(peak)} GFLOP/s when the run began"
