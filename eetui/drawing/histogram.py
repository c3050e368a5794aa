"""The exit signal's histogram in block characters, with the threshold as a line through it."""

from collections.abc import Sequence

from rich.text import Text

from core.events import Threshold
from eetui.drawing.figures import figure
from eetui.drawing.palette import Palette

EIGHTHS = " ▁▂▃▄▅▆▇█"
HARD = "░"
LINE = "│"


def histogram(found: Threshold, width: int, height: int, style: Palette) -> Text:
    """Draw the signal's counts as columns, hatched below the threshold and solid above, labelled with both shares.

    All columns of an exit that is off are hatched.

    Only the bins from the first to the last that holds a token are drawn, so that a narrow signal is visible too.
    """
    rows = height - 2
    if rows < 2 or width < 24:
        return Text("\n".join(_wrapped(summary(found), width)[: max(height, 1)]))
    first, last = _span(found)
    columns = _columns(found, first, last, width)
    line = width
    if found.is_on:
        line = min(max(int((found.threshold - first) / (last - first) * width), 0), width - 1)
    text = Text(no_wrap=True)
    text.append_text(_labels(found, line, width, style)).append("\n")
    peak = max(columns) or 1.0
    for row in range(rows, 0, -1):
        filled = [value / peak * rows - (row - 1) for value in columns]
        text.append("".join(_hard_cell(share, row) for share in filled[:line]), style.caution)
        text.append(LINE if line < width else "", f"bold {style.accent}")
        text.append("".join(_easy_cell(share, row) for share in filled[line + 1 :]), style.live).append("\n")
    return text.append(_scale(first, last, width), style.quiet)


def _hard_cell(filled: float, row: int) -> str:
    """Draw a cell of a hatched column that reaches `filled` of the way up; a dot if that is very little."""
    return HARD if filled >= 0.5 else "." if row == 1 and filled > 0 else " "


def _easy_cell(filled: float, row: int) -> str:
    """Draw a cell of a solid column that reaches `filled` of the way up; never empty in the lowest row."""
    least = int(row == 1 and filled > 0)
    return EIGHTHS[min(max(round(filled * 8), least), 8)]


def summary(found: Threshold) -> tuple[str, str]:
    """Write the threshold and the share of hard tokens."""
    share = found.hard_tokens / found.tokens if found.tokens else 0.0
    return (
        f"threshold {figure(found.threshold, 'signal')}",
        f"hard {share:.1%}: {found.hard_tokens:,} of {found.tokens:,} tokens",
    )


def _labels(found: Threshold, line: int, width: int, style: Palette) -> Text:
    """Label both sides of the line, next to it where the labels fit."""
    if not found.is_on:
        return Text(f"{HARD} the exit is off: all {found.tokens:,} tokens go on"[:width], style.caution, no_wrap=True)
    share = found.hard_tokens / found.tokens if found.tokens else 0.0
    left, right = f"{HARD} hard {share:.1%} ", f" threshold {found.threshold:.4f}  █ exits {1 - share:.1%}"
    if line < len(left):
        left, right = "", f"{right}  {left}".rstrip()
    if line + 1 + len(right) > width:
        left, right = f"{left}{right.strip()} ", ""
    before = left.rjust(line)[:line] if len(left) <= line else left[:line]
    text = Text(before, style.caution, no_wrap=True)
    return text.append(LINE, f"bold {style.accent}").append(right[: width - line - 1], style.live)


def _span(found: Threshold) -> tuple[float, float]:
    """Return the range within [0, 1] that covers all tokens and the threshold."""
    bins = len(found.histogram)
    used = [index for index, count in enumerate(found.histogram) if count] or [0, bins - 1]
    if not found.is_on:
        return used[0] / bins, (used[-1] + 1) / bins
    at = min(max(found.threshold, 0.0), 1.0)
    return min(used[0] / bins, at), max((used[-1] + 1) / bins, min(at + 1 / bins, 1.0))


def _columns(found: Threshold, first: float, last: float, width: int) -> Sequence[float]:
    """Return the tokens of each column: a bin is spread over the columns it covers, bins that share one are summed."""
    bins = len(found.histogram)
    size = (last - first) / width
    columns = []
    for column in range(width):
        low, high = (first + column * size) * bins, (first + (column + 1) * size) * bins
        total, index = 0.0, int(low + 1e-9)
        while index < min(high - 1e-9, bins):
            total += found.histogram[index] * (min(high, index + 1) - max(low, index))
            index += 1
        columns.append(total)
    return columns


def _scale(first: float, last: float, width: int) -> str:
    """Write the signal's value at both ends and in the middle."""
    ends, middle = (f"{first:.2f}", f"{last:.2f}"), f"signal {(first + last) / 2:.2f}"
    if width < 30:
        return ends[0] + ends[1].rjust(width - len(ends[0]))
    start = width // 2 - len(middle) + 2
    return (ends[0].ljust(start) + middle).ljust(width - len(ends[1])) + ends[1]


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    joined = ", ".join(words)
    return [joined] if len(joined) <= width else list(words)
