"""Processors that this process may use, and their load by other processes.

Both are read from Linux's /proc and control groups. On other systems, and where a file is missing, no limit and no load
is assumed.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_SECONDS = 0.3
"""Thirty ticks of each processor's counters: enough to see a process that computes all the time, not one that woke up
for a moment."""

NANOSECONDS = 1e-9


@dataclass(frozen=True)
class Cores:
    """Processors of this process.

    Attributes:
        allowed: number of processors it may run on (CPU affinity).
        quota: processor time its control group grants, in cores; None without a limit.
        busy: number of allowed processors that other processes keep busy.
    """

    allowed: int
    quota: float | None = None
    busy: float = 0.0


@dataclass(frozen=True)
class Usage:
    """Counters; only differences between two readings have a meaning.

    Attributes:
        at: time of the reading, seconds.
        busy, own: processor seconds on the allowed processors, of all processes and of this one.
        threads: for each thread of this process, seconds that it ran and seconds that it waited for a processor.
        periods, held: periods of the control group's quota, and those in which the quota was used up.
        swapped: bytes moved between memory and swap space, by all processes.
    """

    at: float
    busy: float = 0.0
    own: float = 0.0
    threads: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    periods: int = 0
    held: int = 0
    swapped: int = 0


def read_cores(seconds: float = SAMPLE_SECONDS) -> Cores:
    """Return the processors, with the load by other processes measured over so many seconds."""
    before = read_usage()
    time.sleep(seconds)
    return Cores(len(allowed_cores()), read_quota(), others(before, read_usage()))


def read_usage() -> Usage:
    """Read all counters."""
    periods, held = _quota_periods()
    return Usage(
        at=time.monotonic(),
        busy=busy_ticks(text_of("/proc/stat"), allowed_cores()) / os.sysconf("SC_CLK_TCK"),
        own=time.process_time(),
        threads=dict(_threads()),
        periods=periods,
        held=held,
        swapped=_swapped_pages() * os.sysconf("SC_PAGE_SIZE"),
    )


def read_quota() -> float | None:
    """Return the processor time that the control groups of this process grant, in cores; None without a limit."""
    return min((found for folder in _own_groups() if (found := quota_of(folder)) is not None), default=None)


def allowed_cores() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def others(before: Usage, after: Usage) -> float:
    """Return how many of the allowed processors other processes kept busy between two readings."""
    seconds = after.at - before.at
    return max(0.0, (after.busy - before.busy) - (after.own - before.own)) / seconds if seconds > 0 else 0.0


def busy_ticks(stat: str, allowed: set[int]) -> int:
    """Sum the clock ticks during which the allowed processors were not idle, from the text of /proc/stat."""
    return sum(ticks for number, ticks in ticks_by_core(stat) if number in allowed)


def ticks_by_core(stat: str) -> Iterator[tuple[int, int]]:
    """Yield each processor's number, and the clock ticks during which it was not idle, from the text of /proc/stat.

    Time stolen by a hypervisor counts. So does work of a lower priority (nice): it yields only to processes of the same
    session or control group, and training beside it ran at half the speed.
    """
    for name, *columns in (line.split() for line in stat.splitlines() if line):
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _, _, irq, soft_irq, steal, *_ = (*map(int, columns), *[0] * 8)
            yield int(name[3:]), user + nice + system + irq + soft_irq + steal


def group_folders(mounts: str, groups: str, controller: str = "cpu") -> list[Path]:
    """List the folders of the control groups that may limit processor time, or what `controller` controls, inner first.

    In a container, where the paths can be those of the host, only the last may exist: the container's own.

    Args:
        mounts: text of /proc/self/mounts.
        groups: text of /proc/self/cgroup.
    """
    of_kind = {
        "cgroup2" if not controllers else "cgroup": path
        for _, controllers, path in (line.split(":", 2) for line in groups.splitlines() if line.count(":") >= 2)
        if not controllers or controller in controllers.split(",")
    }
    found = []
    for _, mount, kind, options, *_ in (line.split() for line in mounts.splitlines() if line):
        if kind in of_kind and (kind == "cgroup2" or controller in options.split(",")):
            inner = Path(mount + of_kind[kind])
            found += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount)]
    return found


def quota_of(folder: Path) -> float | None:
    """Return the processor time that a control group (version 1 or 2) grants, in cores; None without a limit."""
    limit = text_of(folder / "cpu.max").split()
    if not limit:
        limit = [text_of(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = map(int, limit)
    except ValueError:  # version 2 writes "max" for no limit
        return None
    return quota / period if quota > 0 and period > 0 else None


def _own_groups() -> list[Path]:
    return group_folders(text_of("/proc/self/mounts"), text_of("/proc/self/cgroup"))


def _quota_periods() -> tuple[int, int]:
    """Return the periods of this process's quotas, and the periods in which one was used up."""
    periods = held = 0
    for folder in _own_groups():
        counts = dict(line.split()[:2] for line in text_of(folder / "cpu.stat").splitlines() if " " in line)
        periods += int(counts.get("nr_periods", 0))
        held += int(counts.get("nr_throttled", 0))
    return periods, held


def _threads() -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield each thread of this process, with the seconds that it ran and that it waited for a processor."""
    try:
        threads = os.listdir("/proc/self/task")
    except OSError:
        return
    for thread in threads:
        ran, waited, *_ = (*text_of(f"/proc/self/task/{thread}/schedstat").split(), "0", "0")
        yield int(thread), (int(ran) * NANOSECONDS, int(waited) * NANOSECONDS)


def _swapped_pages() -> int:
    rows = (line.split() for line in text_of("/proc/vmstat").splitlines())
    return sum(int(row[1]) for row in rows if row[0] in ("pswpin", "pswpout"))


def text_of(path: str | Path) -> str:
    """Return the text of a system file; empty if it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
