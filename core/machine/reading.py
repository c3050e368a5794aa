"""What the machine is doing now: processors, memory, GPUs, disks, and the processes that matter.

Nothing but the standard library is needed. What a system does not tell is None: outside Linux that is most of what
other processes do.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.machine.cores import allowed_cores, read_quota, text_of, ticks_by_core
from core.machine.disks import Disk, disk_of
from core.machine.free_memory import available, free_memory, total_memory
from core.machine.gpus import Gpu, Gpus
from core.machine.processes import Process, peak_memory, read_process


@dataclass(frozen=True)
class ProcessUse:
    """What a process takes now.

    Attributes:
        cores: processors that it kept busy since the reading before; None at the first.
        memory: resident bytes; None where the system does not tell.
    """

    pid: int
    name: str = ""
    cores: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Reading:
    """One reading; None is what the system does not tell, or what only a second reading can.

    Attributes:
        cores: number of processors that this process may use.
        quota: processor time that control groups grant, in cores.
        busy: share of the time that each of these processors was busy since the reading before, by its number.
        load: processes that ran or waited to, on average over a minute.
        memory, available: bytes of the machine, and those that new processes can have without swapping.
        left: bytes that this process may still take, limits of control groups and its own counted.
        peak: bytes that this process had at most.
        processes: this process, then others that were asked for, and those on GPUs; without those that are gone.
        no_gpu: why there are no GPUs, as a sentence without its stop.
    """

    cores: int
    quota: float | None = None
    busy: tuple[tuple[int, float], ...] | None = None
    load: float | None = None
    memory: int | None = None
    available: int | None = None
    left: int | None = None
    peak: int = 0
    processes: tuple[ProcessUse, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    no_gpu: str = ""
    disks: tuple[Disk, ...] = ()

    @property
    def busy_cores(self) -> float | None:
        """How many of the processors were busy."""
        return None if self.busy is None else sum(share for _, share in self.busy)


class Meter:
    """Takes readings, one at a time; rates are those since the reading before."""

    def __init__(self, gpus: Gpus | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._gpus, self._clock = gpus or Gpus(), clock
        self._at: float | None = None
        self._ticks: dict[int, int] = {}
        self._seconds: dict[int, float] = {}

    def read(self, pids: Sequence[int] = (), folders: Iterable[Path] = ()) -> Reading:
        """Read everything.

        Args:
            pids: other processes of this machine to read.
            folders: folders whose disks to read; one that can't be asked is left out.
        """
        at = self._clock()
        passed = None if self._at is None else at - self._at
        allowed, gpus = allowed_cores(), self._gpus.read()
        on_gpus = [process.pid for gpu in gpus for process in gpu.processes]
        found = [read_process(pid) for pid in dict.fromkeys((os.getpid(), *pids, *on_gpus))]
        processes = [process for process in found if process is not None]
        ticks = {number: count for number, count in ticks_by_core(text_of("/proc/stat")) if number in allowed}
        reading = Reading(
            cores=len(allowed),
            quota=read_quota(),
            busy=self._busy(ticks, passed),
            load=_load(),
            memory=total_memory(),
            available=next(available(text_of("/proc/meminfo")), None),
            left=free_memory(),
            peak=peak_memory(),
            processes=tuple(self._use(process, passed) for process in processes),
            gpus=gpus,
            no_gpu=self._gpus.missing,
            disks=tuple(_disks(folders)),
        )
        self._at, self._ticks = at, ticks
        self._seconds = {process.pid: process.seconds for process in processes}
        return reading

    def _busy(self, ticks: dict[int, int], passed: float | None) -> tuple[tuple[int, float], ...] | None:
        if not passed or not ticks or not self._ticks:
            return None
        in_all = passed * os.sysconf("SC_CLK_TCK")
        return tuple(
            (number, min(1.0, max(0.0, (count - self._ticks[number]) / in_all)))
            for number, count in sorted(ticks.items())
            if number in self._ticks
        )

    def _use(self, process: Process, passed: float | None) -> ProcessUse:
        before = self._seconds.get(process.pid)
        cores = max(0.0, process.seconds - before) / passed if passed and before is not None else None
        return ProcessUse(process.pid, process.name, cores, process.memory)


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _disks(folders: Iterable[Path]) -> Iterable[Disk]:
    for folder in folders:
        try:
            yield disk_of(folder)
        except OSError:
            continue
