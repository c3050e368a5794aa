"""Processor time and memory of processes, from Linux's /proc; of this one also where there is none, and its command."""

import os
import resource
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from core.machine.cores import text_of


@dataclass(frozen=True)
class Process:
    """What a process takes.

    Attributes:
        name: name of its program; empty where the system does not tell.
        seconds: processor time of all its threads so far; only differences between two readings have a meaning.
        memory: resident size in bytes; None where the system does not tell.
    """

    pid: int
    name: str = ""
    seconds: float = 0.0
    memory: int | None = None


def read_process(pid: int) -> Process | None:
    """Read a process; None if it is gone, dead, hidden from us, or not ours where there is no /proc."""
    found = parsed(pid, text_of(f"/proc/{pid}/stat"))
    if found is None and pid == os.getpid():
        return Process(pid, seconds=time.process_time())
    return found


def parsed(pid: int, stat: str) -> Process | None:
    """Read a process from the text of its /proc/PID/stat; its name, which is in brackets, may hold anything."""
    before, _, after = stat.rpartition(")")
    fields = after.split()
    if len(fields) < 22 or fields[0] in "ZX":
        return None
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Process(pid, before.partition("(")[2], seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def resident_memory() -> int | None:
    """Return the resident size of this process in bytes; None where the system does not tell."""
    pages = text_of("/proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else None


def memory_now() -> int:
    """Return the resident size of this process in bytes; its peak where the system does not tell."""
    now = resident_memory()
    return peak_memory() if now is None else now


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def command_line() -> str:
    """Return this process's command as a shell takes it: a program by its name, a package as `python -m` starts it."""
    program = Path(sys.argv[0])
    started = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*started, *sys.argv[1:]])
