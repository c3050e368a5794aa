"""Text of the form: its fields, its title, the focused field, and the queue."""

import textwrap
from dataclasses import dataclass

from rich.text import Text

from eetui.drawing.figures import number_of
from eetui.setup.fields import Field, Raw

NOTHING_WAITS, PREPARING = "no run waits", "reading a corpus…"
CHANGED, WRONG, UNUSED = "•", "×", "not used"
NAME_WIDTH, EDITOR_WIDTH, UNIT_WIDTH = 23, 23, 15
LEAST_MEANING = 24
"""Fewest columns for a meaning beside its field; with fewer it is shown for the focused field only."""


@dataclass(frozen=True)
class Look:
    """State of a field, and the colours of its signs."""

    changed: bool = False
    focused: bool = False
    problem: str = ""
    unused: str = ""
    focus_colour: str = ""
    problem_colour: str = ""


def field_lines(field: Field, raw: Raw, look: Look, width: int) -> Text:
    """Draw a field around its editor: name before it, unit and meaning after it, problem below."""
    name = f"{CHANGED if look.changed else ' '} {field.label}".ljust(NAME_WIDTH)
    indent = NAME_WIDTH + EDITOR_WIDTH + UNIT_WIDTH
    rest = width - indent
    meaning = textwrap.wrap(field.meaning, rest) if rest >= LEAST_MEANING and field.kind != "several" else []
    unit = (UNUSED if look.unused else _unit(field, raw)).ljust(UNIT_WIDTH)
    text = Text().append(name, f"bold {look.focus_colour}" if look.focused else "dim" if look.unused else "")
    text.append(" " * EDITOR_WIDTH + unit + f"\n{' ' * indent}".join(meaning), "dim")
    for line in textwrap.wrap(f"{WRONG} {look.problem}", max(20, width - 4)) if look.problem else ():
        text.append(f"\n    {line}", look.problem_colour)
    return text


def _unit(field: Field, raw: Raw) -> str:
    return ("on" if raw else "off") if field.kind == "switch" else field.unit


def form_title(preset: str, changes: int, runs: int, problems: int) -> Text:
    """Write the number of runs, changes and problems, and the preset, in one line."""
    line = Text("eetui · new experiment", style="bold", no_wrap=True, overflow="ellipsis")
    facts = [number_of(runs, "run"), f"preset {preset}"]
    if changes:
        facts.append(f"{changes} changed")
    if problems:
        facts.append(f"{problems} to correct")
    return line.append("  " + " · ".join(facts), "not bold dim")


def about_field(field: Field, preset: Raw, *, changed: bool, unused: str = "") -> Text:
    """Write a field's name, meaning and limits, the preset's value if it was changed, and why it has no effect."""
    text = Text(field.name, style="bold").append(f"  {field.meaning}\n", "not bold")
    facts = [fact for fact in (unused, field.limits, field.unit) if fact]
    if changed:
        facts.append(f"preset: {_shown(preset)} (ctrl+r)")
    return text.append(" · ".join(facts), "not bold dim")


@dataclass(frozen=True)
class Queue:
    """Names of the runs that this console's training thread trains now and next."""

    training: str | None = None
    waiting: tuple[str, ...] = ()
    preparing: bool = False

    @property
    def empty(self) -> bool:
        return self == Queue()


def queue_line(queue: Queue) -> Text:
    """Write the queue in one line: the run in training, then those that wait in their order."""
    if queue.empty:
        return Text(NOTHING_WAITS, style="dim")
    parts = [f"▶ {queue.training}"] if queue.training else []
    parts += [f"{len(queue.waiting)} waiting: {', '.join(queue.waiting)}"] if queue.waiting else []
    parts += [PREPARING] if queue.preparing else []
    return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


def queue_list(queue: Queue, most: int = 12) -> Text:
    """Write the queue with a line for each run, at most `most` of those that wait."""
    lines = [f"  ▶ {queue.training}"] if queue.training else []
    lines += [f"{place:>3} {name}" for place, name in enumerate(queue.waiting[:most], start=1)]
    if len(queue.waiting) > most:
        lines.append(f"    and {len(queue.waiting) - most:,} more")
    if queue.preparing:
        lines.append(f"    {PREPARING}")
    text = (
        Text(no_wrap=True, overflow="ellipsis")
        .append("Queue", "bold")
        .append(f"  {NOTHING_WAITS}" * queue.empty, "dim")
    )
    return text.append("".join(f"\n{line}" for line in lines))


def _shown(raw: Raw) -> str:
    if isinstance(raw, bool):
        return "on" if raw else "off"
    return ", ".join(raw) if isinstance(raw, tuple) else raw or "empty"
