"""Number of threads of a run whose config leaves it open.

The threads of a run synchronise after every operation, so all wait for the slowest. A thread that shares its processor
with another process runs at half speed, and so do all the others: fewer threads with processors of their own are
faster, unless they are fewer than half.
"""

import math
import threading
from dataclasses import dataclass

from core.machine.cores import Cores

SPARE = 8
"""Threads and processes beside those that compute: the store's, a screen's, a call of git."""
LEAST_SHARE = 0.25
"""Share of a core, beyond the whole ones that a quota grants, that is worth a thread."""
LIMITS = "the system lets this user start no more (ulimit -u, or pids.max of the control group)"


@dataclass(frozen=True)
class ThreadChoice:
    """A number of threads, with a remark if there could be more or other processes slow them down."""

    threads: int
    remark: str = ""


def choose(own: int, cores: Cores, can_start: int) -> ThreadChoice:
    """Choose the fastest number of threads for the machine's present load.

    Args:
        own: torch's own number of threads.
        can_start: number of threads that this process can start.
    """
    most, reasons = own, list[str]()
    if cores.quota is not None and (granted := max(1, math.ceil(cores.quota - LEAST_SHARE))) < most:
        most = granted
        reasons.append(f"the control group grants {cores.quota:.3g} cores")
    taken = round(cores.busy)
    free, keep = cores.allowed - taken, f"other processes keep {cores.busy:.1f} of {cores.allowed} cores busy"
    slowed = taken > 0 and free < most
    if slowed and free > most / 2:
        most = free
        reasons.append(keep)
    if computing(can_start) < most:
        most = computing(can_start)
        reasons.append(LIMITS)
    if most < own:
        return ThreadChoice(most, f"{_counted(most)}, where there could be {own}: {'; '.join(reasons)}")
    return ThreadChoice(most, f"{keep}: training will take longer, and measured times vary" if slowed else "")


def needed(threads: int) -> int:
    """Return how many threads a process must be able to start to compute with so many.

    They are those of torch's operations, as many for tasks side by side (`core.machine.threads`), and `SPARE` others.
    """
    return 2 * threads + SPARE


def computing(can_start: int) -> int:
    """Return how many threads can compute in a process that can start so many: the inverse of `needed`, at least 1."""
    return max(1, (can_start - SPARE) // 2)


def startable(most: int) -> int:
    """Return how many of `most` threads this process can start now, by starting them.

    Limits of the user, control groups, memory and the whole system all apply. OpenMP must not be the first to reach
    one: it aborts the process.
    """
    leave, trials = threading.Event(), list[threading.Thread]()
    try:
        for _ in range(most):
            thread = threading.Thread(target=leave.wait, name="trial", daemon=True)
            thread.start()
            trials.append(thread)
    except RuntimeError:  # a limit is reached
        pass
    finally:
        leave.set()
        for thread in trials:
            thread.join()
    return len(trials)


def possible(threads: int) -> int:
    """Return as many of these threads as can be started now, at least 1."""
    return threads if threads == 1 else min(threads, computing(startable(needed(threads))))


def fewer_than_recorded(threads: int, recorded: int) -> str:
    """Return the warning for a run that can't have the threads of its config."""
    difference = f"Numbers may differ from those of {recorded} threads by rounding"
    return f"{_counted(threads)} instead of {recorded}: {LIMITS}. {difference}"


def _counted(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
