"""What a stage measured: every way through the model on a line of its own, and where the tokens leave."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from core.events import Measured
from core.formulas import perplexity
from core.state import RunState
from eetui.drawing.cells import bar, fitted
from eetui.drawing.palette import Palette


def measured_table(state: RunState, stage: str, width: int, style: Palette) -> Text:
    """A line for each way through the model that a stage measured, figures under each other."""
    found = [measured for measured in state.measured if measured.stage == stage]
    if not found:
        return Text("measured when the stage ends", style.quiet)
    columns = [_column("PPL", found, lambda one: f"{perplexity(one.loss):,.2f}")]
    columns.append(_column("on", found, lambda one: f"{one.split}, {one.token_set}"))
    columns.append(_column("accuracy", found, lambda one: f"{one.accuracy:.2%}"))
    if any(max(one.exit_shares) < 1 for one in found):
        columns.append(_column("left early", found, lambda one: f"{one.shallow_ratio:.1%}"))
        columns.append(_column("layers saved", found, lambda one: f"{one.layer_savings:.1%}"))
    names = ["", *(one.name for one in found)]
    room = min(max(map(len, names)), max(width - sum(len(column[0]) + 2 for column in columns), 8))
    lines = ["  ".join([fitted(name, room), *cells]) for name, *cells in zip(names, *columns, strict=True)]
    text = Text(lines[0], style="bold", no_wrap=True)
    for line, one in zip(lines[1:], found, strict=True):
        text.append("\n").append(line, "bold" if one.way == "early exit" else "not bold")
    early = next((one for one in found if one.way == "early exit"), None)
    return text if early is None else text.append("\n\n").append_text(_exit_bars(early, width, style))


def _exit_bars(measured: Measured, width: int, style: Palette) -> Text:
    """Where the tokens leave, a bar for each block."""
    lines = []
    for block, share in enumerate(measured.exit_shares):
        words = f"leave after block {block} {share:>6.1%}  "
        length = max(min(width, 80) - len(words), 0)
        lines.append(Text(words, "not bold").append_text(bar(share, length, style.live, style.quiet)))
    return Text("\n", no_wrap=True).join(lines)


def _column(head: str, found: Sequence[Measured], write: Any) -> list[str]:
    cells = [head, *(write(one) for one in found)]
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]
