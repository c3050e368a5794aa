"""Text fitted into cells: padded, cut, in columns, bars."""

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from eetui.drawing.harmless import one_line


def bar(share: float, width: int, done: str, rest: str) -> Text:
    """Draw a bar of `width` cells: heavy for the share done, light for the rest."""
    filled = max(0, min(width, round(share * width)))
    return Text.assemble(("━" * filled, done), ("─" * (width - filled), rest))


def fitted(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Pad or cut the text to exactly `width` cells, ending a cut one with …; control characters are replaced."""
    text = one_line(text)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""
    padding = " " * (width - cell_len(text))
    return padding + text if align == "right" else text + padding


def columns(
    lines: Sequence[Sequence[str]],
    width: int,
    strong: int = -1,
    gap: int = 2,
    least: int = 7,
    give_way: Sequence[int] = (),
) -> Text:
    """Draw right-aligned columns under bold heads, as many as fit; the first one is left-aligned.

    Args:
        lines: rows of cell texts, the heads first.
        width: cells in all.
        strong: index of a bold column.
        gap: cells between columns.
        least: fewest cells of a column but the first.
        give_way: indices, beyond `strong`, of columns that are left out before the last ones are, from its end.
    """
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    widths = [widths[0], *(max(least, cells) for cells in widths[1:])]
    rows, giving = [list(line) for line in lines], list(give_way)
    while sum(widths) + gap * (len(widths) - 1) > width and len(widths) > 2:
        out = giving.pop() if giving else len(widths) - 1
        del widths[out]
        for row in rows:
            del row[out]
    text = Text(no_wrap=True, overflow="crop")
    for number, line in enumerate(rows):
        for column, cells in enumerate(widths):
            shown = set_cell_size(line[column], cells)
            if column:
                shown = " " * (gap + cells - cell_len(line[column])) + line[column]
            text.append(shown, "bold" if number == 0 or column == strong else "")
        text.append("\n" if number < len(rows) - 1 else "")
    return text
