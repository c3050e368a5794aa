"""Table of what a stage measured, one line per way through the model, and bars of where tokens exit."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from core.events import Measured
from core.formulas import perplexity
from core.metrics import measured_bits
from core.state import RunState
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import figure
from eetui.drawing.palette import Palette

GATHERED = "nothing is measured here: the losses at every block are for fitting the exits and setting their thresholds"


def measured_table(state: RunState, stage: str, width: int, style: Palette) -> Text:
    """Draw one line per way through the model that the stage measured, with aligned columns of figures.

    What they were measured on has a column where it differs.
    """
    found = [measured for measured in state.measured if measured.stage == stage]
    if not found:
        ended = any(one.name == stage and one.seconds is not None for one in state.stages)
        return Text(GATHERED if ended else "measured when the stage ends", style.quiet)
    columns = [_column("PPL", found, lambda one: f"{perplexity(one.loss):,.2f}")]
    bits = {one.name: measured_bits(state, one) for one in found}
    if any(value is not None for value in bits.values()):
        columns.append(_column("bits/byte", found, lambda one: figure(bits[one.name], "bits")))
    tokens = [f"{one.split}, {one.token_set}" for one in found]
    alike = len(set(tokens)) == 1
    if not alike:
        columns.append(_aligned(["on", *tokens]))
    columns.append(_column("accuracy", found, lambda one: figure(one.accuracy, "share")))
    if any(max(one.exit_shares) < 1 for one in found):
        columns.append(_column("left early", found, lambda one: f"{one.shallow_ratio:.1%}"))
        columns.append(_column("layers saved", found, lambda one: f"{one.layer_savings:z.1%}"))
    names = [f"{tokens[0]} tokens" if alike else "", *(one.name for one in found)]
    name_width = min(max(map(len, names)), max(width - sum(len(column[0]) + 2 for column in columns), 8))
    lines = ["  ".join([fitted(name, name_width), *cells]) for name, *cells in zip(names, *columns, strict=True)]
    text = Text(lines[0], style="bold", no_wrap=True)
    for line, one in zip(lines[1:], found, strict=True):
        text.append("\n").append(line, "bold" if one.way == "early exit" else "not bold")
    early = next((one for one in found if one.way == "early exit"), None)
    return text if early is None else text.append("\n\n").append_text(_exit_bars(early, width, style))


def _exit_bars(measured: Measured, width: int, style: Palette) -> Text:
    """Draw the share of tokens that exit after each block, one bar per block."""
    lines = []
    for block, share in enumerate(measured.exit_shares):
        words = f"leave after block {block} {share:>6.1%}  "
        length = max(min(width, 80) - len(words), 0)
        lines.append(Text(words, "not bold").append_text(bar(share, length, style.live, style.quiet)))
    return Text("\n", no_wrap=True).join(lines)


def _column(head: str, found: Sequence[Measured], write: Any) -> list[str]:
    return _aligned([head, *(write(one) for one in found)])


def _aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]
