"""How many threads a run takes where its config leaves that open.

Threads of one run meet after every operation, so each waits for the slowest. One that shares its processor with another
process computes at half speed, and so do all: fewer threads that have processors of their own are faster, unless they
are fewer than half.
"""

import math
import threading
from dataclasses import dataclass

from core.machine.cores import Cores

SPARE = 8
"""Threads and processes beside those that compute: the store's, a screen's, a call of git."""
LEAST_SHARE = 0.25
"""Of a core that a quota grants beyond whole ones, for a thread of its own."""
LIMITS = "the system lets this user start no more (ulimit -u, or pids.max of the control group)"


@dataclass(frozen=True)
class ThreadChoice:
    """A number of threads, and what there is to say about it; nothing if it is all there could be."""

    threads: int
    remark: str = ""


def choose(own: int, cores: Cores, can_start: int) -> ThreadChoice:
    """The fastest number of threads on a machine as busy as it is now.

    Args:
        own: as many as torch would take.
        can_start: threads that this process could start.
    """
    most, reasons = own, list[str]()
    if cores.quota is not None and (granted := max(1, math.ceil(cores.quota - LEAST_SHARE))) < most:
        most = granted
        reasons.append(f"the control group grants {cores.quota:.3g} cores")
    taken = round(cores.busy)
    free, keep = cores.allowed - taken, f"other processes keep {cores.busy:.1f} of {cores.allowed} cores busy"
    crowded = taken > 0 and free < most
    if crowded and free > most / 2:
        most = free
        reasons.append(keep)
    if computing(can_start) < most:
        most = computing(can_start)
        reasons.append(LIMITS)
    if most < own:
        return ThreadChoice(most, f"{_counted(most)}, where there could be {own}: {'; '.join(reasons)}")
    return ThreadChoice(most, f"{keep}: training will take longer, and measured times vary" if crowded else "")


def needed(threads: int) -> int:
    """How many threads a process must be able to start for so many that compute.

    Every operation's, as many of tasks side by side (`core.machine.threads`), and what else a run starts.
    """
    return 2 * threads + SPARE


def computing(can_start: int) -> int:
    """How many threads can compute in a process that could start so many: the inverse of `needed`, at least 1."""
    return max(1, (can_start - SPARE) // 2)


def startable(most: int) -> int:
    """How many threads this process can start now, if `most` are asked for.

    Tried, because limits of users, control groups, memory and the whole system play together. OpenMP must not be the
    one to find out: it ends the process.
    """
    leave, trials = threading.Event(), list[threading.Thread]()
    try:
        for _ in range(most):
            thread = threading.Thread(target=leave.wait, name="trial", daemon=True)
            thread.start()
            trials.append(thread)
    except RuntimeError:  # there are no more to be had
        pass
    finally:
        leave.set()
        for thread in trials:
            thread.join()
    return len(trials)


def possible(threads: int) -> int:
    """As many of these threads as can be started now, at least 1."""
    return threads if threads == 1 else min(threads, computing(startable(needed(threads))))


def fewer_than_recorded(threads: int, recorded: int) -> str:
    """What to say where a run can't have the threads of its config."""
    difference = f"Numbers may differ from those of {recorded} threads by rounding"
    return f"{_counted(threads)} instead of {recorded}: {LIMITS}. {difference}"


def _counted(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
