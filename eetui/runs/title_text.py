"""The title bar of the list of runs."""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from eetui.drawing.figures import number_of

TITLE = "eetui · runs"
UNDO = ", u undoes"


@dataclass(frozen=True)
class Facts:
    """Numbers of runs that the title bar shows."""

    shown: int = 0
    total: int = 0
    running: int = 0
    queued: int = 0
    marked: int = 0
    deleted: int = 0


def title_line(facts: Facts, database: str, width: int) -> Text:
    """Write title, database and counts on one line; the path is shortened first."""
    counts = " · ".join(_counts(facts))
    if facts.deleted and width >= cell_len(TITLE) + cell_len(counts) + cell_len(UNDO) + 2:
        counts += UNDO
    path_width = width - cell_len(TITLE) - cell_len(counts) - 4
    path = (
        database if cell_len(database) <= path_width else "…" + database[-(path_width - 1) :] if path_width > 8 else ""
    )
    line = Text(TITLE, style="bold", no_wrap=True, overflow="ellipsis").append("  ").append(path, "dim not bold")
    gap = width - cell_len(line.plain) - cell_len(counts)
    return line.append(" " * max(2, gap)).append(counts, "not bold")


def _counts(facts: Facts) -> list[str]:
    total = number_of(facts.total, "run")
    parts = [total if facts.shown == facts.total else f"{facts.shown:,} of {total}"]
    for number, word in ((facts.running, "running"), (facts.queued, "queued"), (facts.marked, "marked")):
        if number:
            parts.append(f"{number:,} {word}")
    if facts.deleted:
        parts.append(f"{facts.deleted:,} deleted")
    return parts
