"""The lines around the form: its title, the field in focus, and the runs that already wait."""

import textwrap
from dataclasses import dataclass

from rich.text import Text

from eetui.setup.fields import Field, Raw

NOTHING_WAITS, PREPARING = "no run waits", "reading a corpus…"
CHANGED, WRONG = "•", "×"
NAME_WIDTH, EDITOR_WIDTH, UNIT_WIDTH = 23, 23, 15
LEAST_MEANING = 24
"""Columns below which the meaning is left to the line about the field in focus."""


@dataclass(frozen=True)
class Look:
    """How a field stands, and the colours that go with the signs for it."""

    changed: bool = False
    focused: bool = False
    problem: str = ""
    focus_colour: str = ""
    problem_colour: str = ""


def field_lines(field: Field, raw: Raw, look: Look, width: int) -> Text:
    """A field around its editor: name before it, unit and meaning after it, what is wrong below."""
    name = f"{CHANGED if look.changed else ' '} {field.label}".ljust(NAME_WIDTH)
    indent = NAME_WIDTH + EDITOR_WIDTH + UNIT_WIDTH
    room = width - indent
    meaning = textwrap.wrap(field.meaning, room) if room >= LEAST_MEANING and field.kind != "several" else []
    unit = _unit(field, raw).ljust(UNIT_WIDTH)
    text = Text().append(name, f"bold {look.focus_colour}" if look.focused else "")
    text.append(" " * EDITOR_WIDTH + unit + f"\n{' ' * indent}".join(meaning), "dim")
    for line in textwrap.wrap(f"{WRONG} {look.problem}", max(20, width - 4)) if look.problem else ():
        text.append(f"\n    {line}", look.problem_colour)
    return text


def _unit(field: Field, raw: Raw) -> str:
    return ("on" if raw else "off") if field.kind == "switch" else field.unit


def form_title(preset: str, changes: int, runs: int, problems: int) -> Text:
    """What is being set up, in one line."""
    line = Text("eetui · new experiment", style="bold", no_wrap=True, overflow="ellipsis")
    facts = [f"{runs:,} run{'' if runs == 1 else 's'}", f"preset {preset}"]
    if changes:
        facts.append(f"{changes} changed")
    if problems:
        facts.append(f"{problems} to correct")
    return line.append("  " + " · ".join(facts), "not bold dim")


def about_field(field: Field, preset: Raw, *, changed: bool) -> Text:
    """Name, meaning, what it must be, and what the preset has where that is something else."""
    text = Text(field.name, style="bold").append(f"  {field.meaning}\n", "not bold")
    facts = [fact for fact in (field.limits, field.unit) if fact]
    if changed:
        facts.append(f"preset: {_shown(preset)} (ctrl+r)")
    return text.append(" · ".join(facts), "not bold dim")


@dataclass(frozen=True)
class Queue:
    """What the training thread of this console is about to do, by the runs' names."""

    training: str | None = None
    waiting: tuple[str, ...] = ()
    preparing: bool = False

    @property
    def empty(self) -> bool:
        return self == Queue()


def queue_line(queue: Queue) -> Text:
    """The run in training and the order of those that wait."""
    if queue.empty:
        return Text(NOTHING_WAITS, style="dim")
    parts = [f"▶ {queue.training}"] if queue.training else []
    parts += [f"{len(queue.waiting)} waiting: {', '.join(queue.waiting)}"] if queue.waiting else []
    parts += [PREPARING] if queue.preparing else []
    return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


def queue_list(queue: Queue, most: int = 12) -> Text:
    """The same, a line each."""
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
