"""The ablation as a table for a terminal, and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.metrics import Unit, Value
from eetui.compare.ablation import FIGURES, Ablation, AblationLine
from eetui.drawing.figures import MISSING, figure

TITLES = {"base": "", "alone": "One at a time", "together": "Added up"}

HEADS = ("Block 0\ntrained", "Block 0\nalone", "All\nblocks", "Early\nexit", "Left\nearly", "Layers\nsaved", "Nats")
"""Above `FIGURES`, and the difference."""
LEGEND = (
    "Trained: before later blocks were. Nats: early exit against the base or, where added up, the line before, with a "
    "paired bootstrap over windows; · no clear difference."
)


ROOM = {False: 110, True: 160}
"""Cells of a line below which figures are shorter, deviations left out, and a mark stands for the interval; by whether
figures have deviations."""


def ablation_table(ablation: Ablation, lines: Sequence[AblationLine], width: int) -> RenderableType:
    """All lines, for a terminal of that width; PPLs are of the evaluation split, all tokens."""
    wide = width >= ROOM[len(lines[0].names) > 1]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, int(wide), 0, 0))
    table.add_column("", overflow="fold")
    for head in (*HEADS, "95% interval" if wide else ""):
        table.add_column(head, justify="right", no_wrap=True)
    for before, line in zip((None, *lines), lines, strict=False):
        if before is not None and line.series != before.series:
            table.add_section()
            table.add_row(Text(TITLES[line.series], style="dim"))
        table.add_row(Text(line.label), *line_figures(line, wide=wide))
    return Group(
        Text.assemble(("Ablation", "bold"), f"  {ablation.title}; PPL of the evaluation split, all tokens"),
        Text(),
        table,
        Text(),
        *(Text(f"{line.names[0]}: {line.status}") for line in lines if line.status),
        Text(LEGEND, style="dim"),
        *(Text(f"! {note}") for note in ablation.notes),
    )


def line_figures(line: AblationLine, *, wide: bool = True) -> Iterator[str]:
    """PPLs, shares, difference and its interval; a mark for that where there is no room."""
    write = figure if wide else _short
    yield from (write(value, metric.unit) for metric, value in zip(FIGURES, line.values, strict=True))
    if line.difference is None:
        yield from ("", "")
        return
    low, mean, high = line.difference
    unclear = low <= 0 <= high
    yield f"{mean + 0.0:+.4f}"
    yield f"[{low + 0.0:+.4f}, {high + 0.0:+.4f}]" + (" ·" if unclear else "  ") if wide else "·" if unclear else " "


def _short(value: Value | None, unit: Unit) -> str:
    if value is None:
        return MISSING
    return f"{value.mean:.0%}" if unit == "share" else f"{value.mean:.1f}"


def ablation_json(ablation: Ablation, lines: Sequence[AblationLine]) -> str:
    """All lines, unrounded."""
    rows = [
        {
            **asdict(line),
            "values": {metric.key: value and asdict(value) for metric, value in zip(FIGURES, line.values, strict=True)},
        }
        for line in lines
    ]
    return json.dumps({"rows": rows, "notes": ablation.notes}, indent=2, ensure_ascii=False)
