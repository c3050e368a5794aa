"""What a report says: results, figures, promises, config, code state, and the commands that make it again."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from core.config.stored import known
from core.errors import EetuiError, UsageError
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of, find_sweep, whole_sweeps
from core.sweeps.combinations import stored_combinations
from core.sweeps.heat import heat_table
from core.sweeps.spec import Spec
from eetui.compare.advice import loss_intervals
from eetui.compare.comparison import Comparison, compare, shown
from eetui.compare.run_view import RunView
from eetui.compare.sheets import Sheet, sheets
from eetui.compare.tables_text import closing_lines
from eetui.drawing.figures import duration, number_of
from eetui.figures.kinds import KINDS, LeftOut, Options, numbers_of, plots
from eetui.figures.plot import Plot
from eetui.figures.sweep_front import front_plot
from eetui.figures.sweep_heat import heat_plot
from eetui.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph
from eetui.report.promises import exits_and_promises
from eetui.summary.launch_command import changed_values, launch_command, recorded_command, sweep_command

OF_CODE = ("git_commit", "git_dirty", "packages", "python", "platform", "device", "threads", "dtype")
"""Facts of a run's record that tell with which code it was made."""
OF_TEXT = ("corpus", "fingerprint", "tokenizer", "vocab_size")
SWEEP = "sweep:"
"""What a filter by a sweep's name begins with."""
MOST_FIGURES = 4
"""Number of runs up to which each has figures of its own: a page of hundreds would not open."""


def report(
    reader: Reader, views: Sequence[RunView], words: Sequence[str], *, figures: bool, where: str = ""
) -> Iterator[Block]:
    """Yield the blocks of a report on runs.

    Args:
        views: the runs.
        words: as they were asked for, for the command that makes the report again.
        figures: whether they can be drawn.
        where: what commands about these runs need behind them, such as ` --db FILE`.
    """
    comparison = compare(views)
    runs = [(reader.run(number), reader.state(number)) for number in numbers_of(reader, comparison)]
    yield Heading(_title(comparison), 1)
    yield Paragraph(_about([row for row, _ in runs], views))
    yield Heading("Results")
    yield from sheets(comparison)
    yield from _differences(comparison)
    yield from _closing(comparison)
    yield from _figures(reader, comparison, words, drawn=figures)
    yield from exits_and_promises(reader, runs, where)
    yield Heading("Config")
    yield from _config(comparison, [row for row, _ in runs])
    yield Heading("Code and data")
    yield from _code([row for row, _ in runs])
    yield Heading("Make it again")
    yield from _again(reader, [row for row, _ in runs], words, where)


def _title(comparison: Comparison) -> str:
    titles = [column.title for column in comparison.columns]
    return ", ".join(titles) if len(titles) <= 4 else f"{', '.join(titles[:3])} and {len(titles) - 3} more"


def _about(rows: Sequence[Mapping[str, Any]], views: Sequence[RunView]) -> str:
    """Say how many runs there are, of which experiments, and when they were trained."""
    parts = [number_of(len(views), "run")]
    if experiments := sorted({row["experiment"] for row in rows}):
        parts.append(f"experiment{'s' * (len(experiments) > 1)} {', '.join(map(str, experiments))}")
    if unfinished := sum(view.status != "finished" for view in views):
        parts.append(f"{unfinished} not finished")
    times = [row["created"] for row in rows]
    if times:
        first, last = (datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M") for at in (min(times), max(times)))
        parts.append(f"started {first}" + (f" to {last}" if last != first else ""))
        parts.append(f"trained for {duration(sum(row['seconds'] or 0.0 for row in rows))}")
    parts.append("; ".join(dict.fromkeys(view.corpus for view in views)))
    return " · ".join(parts)


def _differences(comparison: Comparison) -> Iterator[Sheet]:
    """Yield the table of differences in loss with their intervals, if there are any."""
    rows = tuple(
        (
            f"{column.title} − {base.title}",
            f"{found.mean:+z.4f}",
            f"[{found.low:+z.4f}, {found.high:+z.4f}]",
            found.kind,
            "clear" if found.clear else "no clear difference",
        )
        for column, base, found in loss_intervals(comparison.columns)
    )
    if rows:
        yield Sheet("Difference in the loss of early exit", ("", "nats", "95% interval", "over", ""), rows)


def _closing(comparison: Comparison) -> Iterator[Block]:
    """Yield recommendations and notes, in the words of `eetui compare`; differences have their table."""
    head, lines = "", list[str]()
    for line in [*(each.strip() for each in closing_lines(comparison)), ""]:
        if line.endswith(":") or not line:
            if lines and not head.startswith("Loss against"):
                yield Paragraph(head)
                yield Bullets(lines)
            head, lines = line, []
        else:
            lines.append(line.removeprefix("! "))


def _figures(reader: Reader, comparison: Comparison, words: Sequence[str], *, drawn: bool) -> Iterator[Block]:
    yield Heading("Figures")
    if not drawn:
        yield Paragraph("Figures need matplotlib: pip install 'eetui[plot]'")
        return
    runs = sum(len(column.runs) for column in comparison.columns)
    kinds = KINDS if runs <= MOST_FIGURES else ("curves", "savings")
    yield from _of_sweeps(reader, words)
    missing = list[LeftOut]()
    for found in plots(reader, comparison, kinds, Options(lines=16)):
        if isinstance(found, Plot):
            yield found
        else:
            missing.append(found)
    if len(kinds) < len(KINDS):
        yield Paragraph(
            f"Figures of single runs are left out, as there are more than {MOST_FIGURES}: eetui report RUN has them."
        )
    if missing:
        yield Folded("Figures that can't be drawn", [Bullets([f"{one.kind}: {one.why}" for one in missing])])


def _of_sweeps(reader: Reader, words: Sequence[str]) -> Iterator[Plot]:
    """Yield heat table and front of each sweep that a report is on, as far as there are any."""
    for name in (word.removeprefix(SWEEP) for word in words if word.startswith(SWEEP)):
        combinations = stored_combinations(reader, find_sweep(reader, name))
        makers: tuple[Callable[[], Plot], ...] = (
            partial(heat_plot, name, heat_table(combinations)),
            partial(front_plot, name, combinations),
        )
        for make in makers:
            with suppress(UsageError):  # nothing varied, or nothing finished
                yield make()


def _config(comparison: Comparison, rows: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """Yield the differences from the preset of one run of each column first, then all values, folded."""
    by_name = {row["name"]: row for row in rows}
    for column in comparison.columns:
        row = by_name.get(column.runs[0].name)
        if row is None:  # a column of the report
            continue
        yield Heading(column.title, 3)
        try:
            preset, changed = changed_values(row)
        except EetuiError as error:
            yield Paragraph(str(error))
        else:
            yield Paragraph(f"Preset {preset}{', and:' if changed else ' as it is.'}")
            if changed:
                yield Sheet("", ("key", "value"), tuple((key, shown(value)) for key, value in changed.items()))
        whole = tuple((key, shown(value)) for key, value in known(row).items())
        yield Folded("Whole config", [Sheet("", ("key", "value"), whole)])


def _code(rows: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """Yield the code and data that runs were made with, each different state once."""
    states: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        record = row["record"]
        facts = tuple((key, _fact(record[key])) for key in (*OF_TEXT, *OF_CODE) if key in record)
        states.setdefault(facts, []).append(row["name"])
    for facts, names in states.items():
        if len(states) > 1:
            yield Heading(", ".join(names), 3)
        yield Sheet("", ("", ""), facts)


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    if value is None:
        return "not known"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _again(reader: Reader, rows: Sequence[Mapping[str, Any]], words: Sequence[str], where: str) -> Iterator[Block]:
    """Yield the commands that train the runs again, whole sweeps by one each, and those that show them."""
    sweeps, recorded, single = list[str](), list[str](), list[str]()
    made = set[int]()
    for sweep in whole_sweeps(reader, [row["id"] for row in rows]):
        sweeps.append(sweep_command(sweep.name, Spec.from_plain(sweep.spec)))
        made.update(cell["id"] for cell in cells_of(reader, sweep.number))
    for row in rows:
        if row["id"] in made:
            continue
        if (command := recorded_command(row)) is not None:
            recorded.append(command)
            continue
        try:
            single.append(launch_command(row))
        except EetuiError as error:
            single.append(f"# {row['name']}: {' '.join(str(error).split())}")
    yield Commands(list(dict.fromkeys([*sweeps, *recorded, *single])))
    names = [str(word) for word in words] or ["experiment=" + str(n) for n in sorted({r["experiment"] for r in rows})]
    yield Paragraph("This page, its tables and its figures:")
    yield Commands([f"eetui {command} {shlex.join(names)}{where}" for command in ("report", "compare", "plot")])
