"""The ablation as a table for a terminal, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.metrics import BITS_PER_BYTE, Unit, Value
from eetui.compare.ablation import FIGURES, Ablation, AblationLine
from eetui.drawing.figures import MISSING, figure
from eetui.drawing.formats import json_text

TITLES = {"base": "", "alone": "One at a time", "together": "Added up"}

HEADS = (
    "Block 0\ntrained",
    "Block 0\nalone",
    "All\nblocks",
    "Early\nexit",
    "Bits per\nbyte",
    "Left\nearly",
    "Layers\nsaved",
    "Nats",
)
"""Column heads of `FIGURES` and of the difference."""
LEGEND = (
    "Trained: before later blocks were. Nats: early exit against the base or, where added up, the line before, with "
    "its interval over windows, and over seeds if there are several; · no clear difference."
)


FULL_WIDTH = {False: 122, True: 184}
"""Width in cells from which figures have all digits, deviations and intervals, by whether there are several seeds;
below it a mark stands for the interval, and there are no bits per byte."""


def ablation_table(ablation: Ablation, lines: Sequence[AblationLine], width: int) -> RenderableType:
    """Draw all lines for a terminal of that width; PPLs are of the evaluation split, all tokens."""
    wide = width >= FULL_WIDTH[len(lines[0].names) > 1]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, int(wide), 0, 0))
    table.add_column("", overflow="fold")
    heads = [head for head, metric in zip(HEADS, (*FIGURES, None), strict=True) if wide or metric != BITS_PER_BYTE]
    for head in (*heads, "95% interval" if wide else ""):
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
    """Yield PPLs, shares, the difference and its interval; without `wide`, a mark instead of the interval."""
    write = figure if wide else _short
    for metric, value in zip(FIGURES, line.values, strict=True):
        if wide or metric != BITS_PER_BYTE:
            yield write(value, metric.unit)
    if line.difference is None:
        yield from ("", "")
        return
    found = line.difference
    yield f"{found.mean:+z.4f}"
    mark = " " if found.clear else "·"
    yield f"[{found.low:+z.4f}, {found.high:+z.4f}] {mark}" if wide else mark


def _short(value: Value | None, unit: Unit) -> str:
    if value is None:
        return MISSING
    return f"{value.mean:.0%}" if unit == "share" else f"{value.mean:.1f}"


def ablation_json(ablation: Ablation, lines: Sequence[AblationLine]) -> str:
    """Write all lines, unrounded."""
    rows = [
        {
            **asdict(line),
            "values": {metric.key: value and asdict(value) for metric, value in zip(FIGURES, line.values, strict=True)},
        }
        for line in lines
    ]
    return json_text({"rows": rows, "notes": ablation.notes})
