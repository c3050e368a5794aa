"""The stages of a run, one per line: status, progress of the active one, and time taken."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from core.state import StageState
from eetui.drawing.cells import bar, fitted
from eetui.drawing.figures import duration
from eetui.drawing.palette import Palette
from eetui.live.situation import StageRow, StageStatus
from eetui.summary.progress import bound_sign, epoch_now, seconds_left, seconds_so_far, stage_progress, step_of_epoch

SIGNS: dict[StageStatus, str] = {
    "done": "✓", "reused": "↺", "active": "▶", "paused": "‖", "waiting": "…", "stopped": "■", "failed": "✗",
    "not run": "–",
}  # fmt: skip
CURSOR = "›"
NAME_WIDTH = 18
HEAD_WIDTH = 2 + 2 + 8 + NAME_WIDTH
FEWEST_BAR = 4


def active_index(rows: Sequence[StageRow]) -> int:
    """Return the index of the stage in progress or that ended the run; else of the last one started."""
    for index, row in enumerate(rows):
        if row.status in ("active", "paused", "stopped", "failed"):
            return index
    return max((index for index, row in enumerate(rows) if row.stage is not None), default=0)


def timeline(rows: Sequence[StageRow], selected: int, width: int, height: int, style: Palette) -> Text:
    """Draw one line per row, at most `height` lines, the selected row among them."""
    first = min(max(selected - height // 2, 0), max(len(rows) - height, 0))
    shown = list(enumerate(rows))[first : first + height]
    return Text("\n").join(stage_line(row, index == selected, width, style) for index, row in shown)


def stage_line(row: StageRow, selected: bool, width: int, style: Palette) -> Text:
    """Draw sign, status and name, then the progress of an active stage or the time that a finished one took."""
    look = _look(row.status, style)
    line = Text.assemble(
        (CURSOR if selected else " ", "bold"),
        " ",
        (f"{SIGNS[row.status]} {row.status:<8}", look),
        (fitted(row.name, NAME_WIDTH), "bold" if selected else ""),
        no_wrap=True,
        end="",
    )
    rest = width - HEAD_WIDTH
    if row.stage is not None and row.status in ("active", "paused"):
        line.append_text(progress_fields(row.stage, rest, look, style))
    else:
        seconds = seconds_so_far(row.stage) if row.stage else None
        line.append(f"{'' if seconds is None else duration(seconds):>{max(rest, 0)}}")
    if selected:
        line.stylize("reverse", 0, 1)
    return line


def progress_fields(stage: StageState, width: int, look: str, style: Palette) -> Text:
    """Draw a bar, and as many of time left, epoch, step and share as fit beside it, always in the same places."""
    chosen: list[str] = []
    bar_width = width
    for text in _fields(stage):
        if bar_width - len(text) - 2 < FEWEST_BAR:
            break
        chosen.append(text)
        bar_width -= len(text) + 2
    left, *between = chosen or [""]
    line = bar(stage_progress(stage), max(bar_width, 0), look, style.quiet)
    line.append("".join(f"  {field}" for field in between))
    return line.append(f"  {left}" if left else "")


def _fields(stage: StageState) -> Iterator[str]:
    """Yield the fields, most important first; their widths stay the same from first step to last."""
    yield time_left(stage)
    yield counted("epoch", epoch_now(stage), stage.epochs)
    yield counted("step", step_of_epoch(stage), stage.steps)
    yield f"{stage_progress(stage):4.0%}"


def time_left(stage: StageState) -> str:
    """Write the time left; it is marked as an upper bound where the stage may stop early."""
    return f"{bound_sign(stage):1} {duration(seconds_left(stage)):>6} left"


def counted(word: str, value: int, total: int) -> str:
    """Write `epoch  3/50`; `epoch 3` where the total is not known."""
    return f"{word} {value:>{len(str(total))}}/{total}" if total else f"{word} {value}"


def _look(status: StageStatus, style: Palette) -> str:
    looks: dict[StageStatus, str] = {
        "done": style.good, "reused": style.good, "active": f"bold {style.live}", "paused": style.caution,
        "stopped": style.caution, "failed": style.bad,
    }  # fmt: skip
    return looks.get(status, style.quiet)
