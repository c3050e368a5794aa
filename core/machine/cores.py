"""What this process may use of the machine's processors, and what others leave of them.

Linux says so in /proc and in the files of control groups. Elsewhere, and where a file is missing, nobody is known to
take anything.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_SECONDS = 0.3
"""Thirty ticks of each processor's counters: who computes without a break is seen, who woke up for a moment is not."""

NANOSECONDS = 1e-9


@dataclass(frozen=True)
class Cores:
    """The processors of this process.

    Attributes:
        allowed: those it may run on (CPU affinity).
        quota: processor time its control group grants, in cores; None without a limit.
        busy: how many of those allowed others keep busy.
    """

    allowed: int
    quota: float | None = None
    busy: float = 0.0


@dataclass(frozen=True)
class Usage:
    """Counters, of which only differences mean anything.

    Attributes:
        at: seconds by the clock.
        busy, own: processor seconds on the allowed processors, of everybody, and of this process.
        threads: seconds that each thread of this process ran, and that it was ready to run and had no processor.
        periods, held: periods of the control group's quota, and those in which it was used up.
        swapped: bytes moved between memory and swap space, for whatever process.
    """

    at: float
    busy: float = 0.0
    own: float = 0.0
    threads: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    periods: int = 0
    held: int = 0
    swapped: int = 0


def read_cores(seconds: float = SAMPLE_SECONDS) -> Cores:
    """Read what there is, watching the others for so many seconds."""
    before = read_usage()
    time.sleep(seconds)
    return Cores(len(allowed_cores()), read_quota(), others(before, read_usage()))


def read_usage() -> Usage:
    """Read all counters now."""
    periods, held = _quota_periods()
    return Usage(
        at=time.monotonic(),
        busy=busy_ticks(_text("/proc/stat"), allowed_cores()) / os.sysconf("SC_CLK_TCK"),
        own=time.process_time(),
        threads=dict(_threads()),
        periods=periods,
        held=held,
        swapped=_swapped_pages() * os.sysconf("SC_PAGE_SIZE"),
    )


def read_quota() -> float | None:
    """Processor time that the control groups of this process grant, in cores; None without a limit."""
    return min((found for folder in _own_groups() if (found := quota_of(folder)) is not None), default=None)


def allowed_cores() -> set[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def others(before: Usage, after: Usage) -> float:
    """How many of the allowed processors other processes kept busy between two readings."""
    seconds = after.at - before.at
    return max(0.0, (after.busy - before.busy) - (after.own - before.own)) / seconds if seconds > 0 else 0.0


def busy_ticks(stat: str, allowed: set[int]) -> int:
    """Clock ticks that some processors were not idle, from the text of /proc/stat.

    Time stolen by a hypervisor counts, and so does work of a lower priority (nice): it makes way only for what is of
    the same session or control group, and half the speed was lost beside it.
    """
    total = 0
    for name, *columns in (line.split() for line in stat.splitlines() if line):
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in allowed:
            user, nice, system, _, _, irq, soft_irq, steal, *_ = (*map(int, columns), *[0] * 8)
            total += user + nice + system + irq + soft_irq + steal
    return total


def group_folders(mounts: str, groups: str) -> list[Path]:
    """Folders of the control groups that may limit processor time, from /proc/self/mounts and /proc/self/cgroup.

    Each comes before those it lies in. In a container, where the paths can be those of the host, only the last may
    exist: it is the container's own.
    """
    of_kind = {
        "cgroup2" if not controllers else "cgroup": path
        for _, controllers, path in (line.split(":", 2) for line in groups.splitlines() if line.count(":") >= 2)
        if not controllers or "cpu" in controllers.split(",")
    }
    found = []
    for _, mount, kind, options, *_ in (line.split() for line in mounts.splitlines() if line):
        if kind in of_kind and (kind == "cgroup2" or "cpu" in options.split(",")):
            inner = Path(mount + of_kind[kind])
            found += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount)]
    return found


def quota_of(folder: Path) -> float | None:
    """Cores' worth of time that a control group grants, version 2 or 1; None if it sets no limit."""
    limit = _text(folder / "cpu.max").split()
    if not limit:
        limit = [_text(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = map(int, limit)
    except ValueError:  # version 2 says "max"
        return None
    return quota / period if quota > 0 and period > 0 else None


def _own_groups() -> list[Path]:
    return group_folders(_text("/proc/self/mounts"), _text("/proc/self/cgroup"))


def _quota_periods() -> tuple[int, int]:
    """Periods of the quotas of this process, and those in which one was used up."""
    periods = held = 0
    for folder in _own_groups():
        counts = dict(line.split()[:2] for line in _text(folder / "cpu.stat").splitlines() if " " in line)
        periods += int(counts.get("nr_periods", 0))
        held += int(counts.get("nr_throttled", 0))
    return periods, held


def _threads() -> Iterator[tuple[int, tuple[float, float]]]:
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:
        return
    for thread in threads:
        ran, waited, *_ = (*_text(f"/proc/self/task/{thread}/schedstat").split(), "0", "0")
        yield int(thread), (int(ran) * NANOSECONDS, int(waited) * NANOSECONDS)


def _swapped_pages() -> int:
    rows = (line.split() for line in _text("/proc/vmstat").splitlines())
    return sum(int(row[1]) for row in rows if row[0] in ("pswpin", "pswpout"))


def _text(path: str | Path) -> str:
    """The text of one of the system's files; empty if it has none to tell."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
