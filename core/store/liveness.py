"""Whether the process that holds a run still lives: by its identity where that can be looked up, else by its heartbeat.

A pid alone says little: it is given again, after a reboot too, and in a container it means another process. So a run's
row has the identity of its process as well: boot, pid namespace, and when the process started. Where boot and namespace
are one's own, that is looked up and certain. From anywhere else a process counts as alive as long as its heartbeat,
written every `BEAT_SECONDS` while it has runs, is not older than `SILENT_SECONDS`. Looking writes nothing.
"""

import os
import platform
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any

from core.state import LIVE

IS_LIVE = f"status IN {LIVE}"
"""Condition of SQL."""
IS_HELD = f"{IS_LIVE} AND (pid IS NOT NULL OR id NOT IN (SELECT run_id FROM queue))"
"""The same of a run that is a process's, and does not wait in the queue for one."""
BEAT_SECONDS = 15.0
SILENT_SECONDS = 300.0
"""Twenty missed heartbeats: long enough for a slow disk, a lock that somebody holds, and clocks that disagree."""
EARLIER_SILENT_SECONDS = 3600.0
"""Of earlier versions, which wrote no identity, and a heartbeat only when there was something to store."""
GONE = "its process is gone"
"""What is said of a run that nobody ended."""
LOOK_SECONDS = 0.5
"""What was found of a process is taken for true so long."""
UNKNOWN = "-"

Owner = tuple[int | None, str | None, str | None]
"""pid, host and identity of a process, as they are in a run's row."""


def this_process() -> dict[str, Any]:
    """Return the columns that identify the process that holds a run; the same for as long as it lives."""
    return dict(zip(("pid", "host", "process"), _own(os.getpid()), strict=True))


@cache
def _own(pid: int) -> tuple[int, str, str]:
    return pid, socket.gethostname(), _identity(pid)


class Liveness:
    """Judges the processes of runs; what is found of a process is kept for a moment, as many runs may be its."""

    def __init__(self) -> None:
        self._found: dict[Owner, bool | None] = {}
        self._since = 0.0

    def is_gone(self, pid: int | None, host: str | None, process: str | None, heard: float) -> bool:
        """Tell whether nobody holds the run any more.

        Args:
            heard: when there was a sign of life last: the heartbeat, or else when the run was queued.
        """
        if time.monotonic() - self._since > LOOK_SECONDS:
            self._found, self._since = {}, time.monotonic()
        owner = (pid, host, process)
        if owner not in self._found:
            self._found[owner] = _lives(pid, host, process)
        lives = self._found[owner]
        if process is None and lives is not False:
            return _was_given_again(pid, heard) if lives else abs(time.time() - heard) > EARLIER_SILENT_SECONDS
        return not lives if lives is not None else abs(time.time() - heard) > SILENT_SECONDS


def _lives(pid: int | None, host: str | None, process: str | None) -> bool | None:
    """Look a process up; None where it can't be told from here."""
    if pid is None or pid <= 0:
        return False
    if process is None:
        return _exists(pid) if host == socket.gethostname() else None
    place, _, started = process.rpartition(" ")
    if place != _own(os.getpid())[2].rpartition(" ")[0]:
        return None
    if (
        place == f"{UNKNOWN} {UNKNOWN}"
    ):  # without /proc; where there are no namespaces, pids are those of the whole host
        whole_host = platform.system() != "Linux" and host == socket.gethostname()
        return False if whole_host and not _exists(pid) else None
    now = _started(pid)
    if now is None:  # hidden from us, or not there
        return None if _exists(pid) else False
    return now == started


def _exists(pid: int) -> bool:
    """Whether there is a process of that number; a dead one that nobody has waited for is none."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return _status(pid)[:1] not in (["Z"], ["X"])


def _was_given_again(pid: int | None, heard: float) -> bool:
    """Whether a process began only after the run of one with its number was last heard of, or that is too long ago."""
    began = _started(pid) if pid else None
    since_boot = _boot_time()
    if began is not None and since_boot is not None:
        return since_boot + int(began) / os.sysconf("SC_CLK_TCK") > heard + 2
    return abs(time.time() - heard) > EARLIER_SILENT_SECONDS


def _identity(pid: int) -> str:
    """Boot, pid namespace and start of a process, separated by blanks; dashes where the system does not tell."""
    parts = (_boot(), _namespace(), _started(pid))
    return " ".join(part or UNKNOWN for part in (parts if all(parts) else [None] * 3))


def _started(pid: int) -> str | None:
    """Return the start time of a process in clock ticks since the boot; None if it is not there, dead, or hidden."""
    status = _status(pid)
    return status[19] if len(status) > 19 and status[0] not in "ZX" else None


def _status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; the name before that may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


@cache
def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


@cache
def _boot_time() -> float | None:
    """Return the boot time in seconds since 1970."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)
