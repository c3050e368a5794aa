"""Panes of the Machine screen: every figure is written out, a bar beside it is only its picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import wrap

from rich.text import Text

from core.machine.disks import Disk
from core.machine.gpus import Gpu
from core.machine.reading import ProcessUse, Reading
from eetui.drawing.cells import bar, columns, fitted
from eetui.drawing.figures import MISSING, number_of
from eetui.drawing.palette import Palette
from eetui.drawing.sparklines import BARS, sparkline

LABEL, SHORTEST_BAR, LONGEST_BAR = 16, 8, 40
FEW_CORES = 8
"""Processors of which each gets its own figure; with more of them, each gets a bar one cell wide."""
FULL = 0.9
"""Share from which memory is said to be nearly full, and a processor counts as busy."""
NOT_TOLD = "this system does not tell"
LATER = "measuring …"


@dataclass(frozen=True)
class Shown:
    """A reading with what the screen knows beside it.

    Attributes:
        busy: share of all processors that was busy at each reading of the last minute, the newest last.
        own: what this process does.
        names: what other processes do, by their numbers.
        places: what each folder is for whose disk was read.
    """

    reading: Reading
    busy: Sequence[float] = ()
    own: str = "this console"
    names: Mapping[int, str] = field(default_factory=dict)
    places: Mapping[Path, str] = field(default_factory=dict)


def cpu_pane(shown: Shown, width: int, style: Palette) -> Text:
    """Draw how busy the processors are: all, each, and by this process."""
    reading = shown.reading
    lines = [_head("CPU", _cores(reading))]
    if reading.busy_cores is not None:
        share = reading.busy_cores / max(1, reading.cores)
        lines.append(_barred("all", share, f"{share:4.0%}  {reading.busy_cores:.1f} cores", width, style))
        lines.append(_labelled("last minute", Text(sparkline(shown.busy, width - LABEL, (0.0, 1.0)), style.live)))
        lines.append(_labelled("by core", Text(_by_core(reading, width - LABEL))))
    else:
        told = LATER if not shown.busy and reading.available is not None else f"how busy they are {NOT_TOLD}"
        lines.append(_labelled("all", Text(told)))
    own = reading.processes[0] if reading.processes else None
    if own is None or own.cores is None:
        lines.append(_labelled("this console", Text(LATER)))
    else:
        share = own.cores / max(1, reading.cores)
        lines.append(_barred("this console", share, f"{share:4.0%}  {own.cores:.1f} cores", width, style))
    return _joined(lines)


def _cores(reading: Reading) -> str:
    quota = "" if reading.quota is None else f", {reading.quota:.3g} granted by the control group"
    load = "" if reading.load is None else f", load {reading.load:.1f}"
    return f"{number_of(reading.cores, 'core')}{quota}{load}"


def _by_core(reading: Reading, width: int) -> str:
    busy = reading.busy or ()
    if len(busy) <= FEW_CORES:
        return fitted("  ".join(f"{number}: {share:.0%}" for number, share in busy), width).rstrip()
    shares = [share for _, share in busy]
    glyphs = "".join(BARS[round(share * (len(BARS) - 1))] for share in shares)
    full = sum(share >= FULL for share in shares)
    return fitted(f"{glyphs}  {full} busy", width).rstrip() if len(glyphs) + 10 <= width else f"{full} busy"


def memory_pane(shown: Shown, width: int, style: Palette) -> Text:
    """Draw what the machine and this process take of the memory."""
    reading, lines = shown.reading, []
    total, left = reading.memory, reading.left
    if total is not None and reading.available is not None:
        used = total - reading.available
        full = used >= FULL * total
        text = f"{used / total:4.0%}  {_gib(used)} of {_gib(total)}{'  ! nearly full' if full else ''}"
        lines.append(_barred("machine", used / total, text, width, style, style.caution if full else ""))
    else:
        known = f"{_gib(total)} in all; " if total is not None else ""
        lines.append(_labelled("machine", Text(f"{known}what is in use {NOT_TOLD}")))
    own = reading.processes[0].memory if reading.processes else None
    peak = f"at most {_gib(reading.peak)} so far"
    if own is not None and total:
        text = f"{own / total:4.0%}  {_gib(own)}, {peak}"
        lines.append(_barred("this console", own / total, text, width, style))
    else:
        lines.append(_labelled("this console", Text(peak)))
    return _joined([_head("Memory", "" if left is None else f"{_gib(left)} can still be taken"), *lines])


def gpu_pane(shown: Shown, width: int, style: Palette) -> Text:
    """Draw how busy each GPU is and what of its memory is taken, or why there is nothing to draw."""
    gpus = shown.reading.gpus
    if not gpus:
        why = wrap(shown.reading.no_gpu or LATER, width, initial_indent="  ", subsequent_indent="  ")
        return _joined([_head("GPU", ""), *map(Text, why)])
    lines = [_head("GPU", f"{len(gpus)} of NVIDIA")]
    for gpu in gpus:
        lines.append(Text(fitted(f"  {gpu.number} {gpu.name}", width).rstrip()))
        lines += _gpu_lines(gpu, width, style)
    return _joined(lines)


def _gpu_lines(gpu: Gpu, width: int, style: Palette) -> Iterator[Text]:
    if gpu.share is None:
        yield _labelled("  busy", Text("its driver does not tell"))
    else:
        yield _barred("  busy", gpu.share, f"{gpu.share:4.0%}", width, style)
    if gpu.used is not None and gpu.total:
        share = gpu.used / gpu.total
        yield _barred("  memory", share, f"{share:4.0%}  {_gib(gpu.used)} of {_gib(gpu.total)}", width, style)


def process_pane(shown: Shown, width: int) -> Text:
    """Draw the processes that train runs of the database or compute on a GPU, this console first."""
    gpus = shown.reading.gpus
    on_gpus = {process.pid for gpu in gpus for process in gpu.processes}
    rows = shown.reading.processes
    hidden = sorted(on_gpus - {row.pid for row in rows})
    others = (*rows[1:], *map(ProcessUse, hidden))
    does = [shown.own, *(shown.names.get(row.pid) or row.name or "another process" for row in others)]
    heads = ["    pid  process", "CPU", "memory", *(["GPU", "GPU memory"] if gpus else [])]
    lines = [heads, *map(partial(_process_row, gpus), (*rows[:1], *others), does)]
    name_width = max(20, width - 2 - 11 * (len(heads) - 1))
    lines = [[fitted(line[0], name_width), *line[1:]] for line in lines]
    table = columns(lines, width - 2).split()
    return _joined([_head("Processes", ""), *(Text("  ").append_text(line) for line in table)])


def _process_row(gpus: Sequence[Gpu], row: ProcessUse, does: str) -> list[str]:
    cpu = MISSING if row.cores is None else f"{row.cores:.0%}"
    memory = MISSING if row.memory is None else _gib(row.memory)
    cells = [f"{row.pid:>7}  {does}", cpu, memory]
    if not gpus:
        return cells
    found = [on for gpu in gpus for on in gpu.processes if on.pid == row.pid]
    shares = [on.share for on in found if on.share is not None]
    memories = [on.memory for on in found if on.memory is not None]
    return [*cells, f"{sum(shares):.0%}" if shares else MISSING, _gib(sum(memories)) if memories else MISSING]


def disk_pane(shown: Shown, width: int, style: Palette, *, folders: bool = True) -> Text:
    """Draw what is free where the console and its runs write.

    Args:
        folders: whether each folder is named, on a line of its own.
    """
    lines = [_head("Disk", "")]
    for disk in shown.reading.disks:
        lines.append(_disk_line(shown.places.get(disk.folder, ""), disk, width, style))
        if folders:
            lines.append(_labelled("", Text(fitted(str(disk.folder), width - LABEL).rstrip(), style.quiet)))
    return _joined(lines if shown.reading.disks else [*lines, Text(f"  {LATER}")])


def _disk_line(name: str, disk: Disk, width: int, style: Palette) -> Text:
    used = 1 - disk.free / disk.total if disk.total else 1.0
    warning = "  ! little is left" if disk.scarce else "  ! read-only" if not disk.writable else ""
    kind = f", {disk.kind}" if disk.kind is not None and not warning else ""
    text = f"{used:4.0%}  {_gib(disk.free)} free of {_gib(disk.total)}{kind}{warning}"
    return _barred(name, used, text, width, style, style.bad if warning else "")


# Lines


def _head(title: str, text: str) -> Text:
    return Text(title, "bold").append(f"  {text}" if text else "", "not bold")


def _labelled(label: str, text: Text) -> Text:
    return Text(fitted(f"  {label}", LABEL)).append_text(text)


def _barred(label: str, share: float, text: str, width: int, style: Palette, look: str = "") -> Text:
    """Draw a label, a bar and the figures that it stands for; `look` is its style, the usual one if empty."""
    cells = max(SHORTEST_BAR, min(LONGEST_BAR, width - LABEL - 50))
    return _labelled(label, bar(share, cells, look or style.live, style.quiet).append(f" {text}", "not dim"))


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
