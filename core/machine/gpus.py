"""What NVIDIA's GPUs do, by process, read from the driver's own library (NVML).

The library is called through ctypes: a call takes microseconds, where starting nvidia-smi every second would keep a
core busy, and nothing has to be installed. Other makers' GPUs tell what a process does on them to their own tools only.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
OK, NONE_FOUND, TOO_SMALL = 0, 6, 7
UNKNOWN = 2**64 - 1
"""What stands for the memory of a process that the driver does not tell."""
MOST_PROCESSES = 256
SAMPLED_MICROSECONDS = 2_000_000
"""Time before the latest sample of a process's use within which samples count."""
NO_LIBRARY = "no GPU to be read here: there is no driver of NVIDIA's"
OF_APPLE = "what a process does on a GPU macOS tells its own tools only: Activity Monitor, or powermetrics as root"


@dataclass(frozen=True)
class OnGpu:
    """A process on a GPU; None is what the driver does not tell.

    Attributes:
        memory: bytes of the GPU's memory that it has.
        share: share of the time in which it kept the GPU busy.
    """

    pid: int
    memory: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Gpu:
    """A GPU; None is what the driver does not tell.

    Attributes:
        share: share of the time in which it was busy.
        used, total: bytes of its memory.
    """

    number: int
    name: str
    share: float | None = None
    used: int | None = None
    total: int | None = None
    processes: tuple[OnGpu, ...] = ()


class _Rates(ctypes.Structure):
    """nvmlUtilization_t: percent."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t."""

    _fields_ = (
        ("pid", ctypes.c_uint), ("memory", ctypes.c_ulonglong), ("gpu", ctypes.c_uint), ("compute", ctypes.c_uint),
    )  # fmt: skip


class _Sample(ctypes.Structure):
    """nvmlProcessUtilizationSample_t: microseconds, percent."""

    _fields_ = (
        ("pid", ctypes.c_uint), ("at", ctypes.c_ulonglong), ("busy", ctypes.c_uint), ("memory", ctypes.c_uint),
        ("encoder", ctypes.c_uint), ("decoder", ctypes.c_uint),
    )  # fmt: skip


class Gpus:
    """The GPUs of this machine; the library is opened at the first reading, which may take a second."""

    def __init__(self, library: Callable[[str], Any] = ctypes.CDLL, platform: str = sys.platform) -> None:
        self._open, self._platform = library, platform
        self._library: Any = None
        self._sampled: dict[int, int] = {}
        self.missing = ""
        """Why there is nothing to read, as a sentence without its stop; empty until the first reading."""

    def read(self) -> tuple[Gpu, ...]:
        """Read every GPU; none if `missing` says why."""
        if self._library is None and not self.missing:
            self._begin()
        if self.missing:
            return ()
        count = ctypes.c_uint()
        if self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != OK or not count.value:
            self.missing = "NVIDIA's driver is here, but shows this process no GPU"
        return tuple(gpu for number in range(count.value) if (gpu := self._gpu(number)))

    def _begin(self) -> None:
        try:
            self._library = self._open(LIBRARY)
        except OSError:
            self.missing = OF_APPLE if self._platform == "darwin" else NO_LIBRARY
            return
        if (code := self._library.nvmlInit_v2()) != OK:
            self.missing = f"NVIDIA's driver can't be asked (NVML error {code}): nvidia-smi says more"

    def _gpu(self, number: int) -> Gpu | None:
        device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        if self._library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)) != OK:
            return None
        self._library.nvmlDeviceGetName(device, name, len(name))
        rates, memory = _Rates(), _Memory()
        busy = self._library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(rates)) == OK
        told = self._library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == OK
        return Gpu(
            number,
            name.value.decode(errors="replace"),
            rates.gpu / 100 if busy else None,
            memory.used if told else None,
            memory.total if told else None,
            tuple(self._processes(number, device)),
        )

    def _processes(self, number: int, device: ctypes.c_void_p) -> Iterator[OnGpu]:
        """Yield the processes that compute on a device."""
        function = getattr(self._library, "nvmlDeviceGetComputeRunningProcesses_v3", None)  # drivers since 510
        if function is None:
            return
        found, count = (_Process * MOST_PROCESSES)(), ctypes.c_uint(MOST_PROCESSES)
        if function(device, ctypes.byref(count), found) != OK:
            return
        shares = self._shares(number, device)
        for process in found[: count.value]:
            memory = None if process.memory == UNKNOWN else process.memory
            yield OnGpu(process.pid, memory, None if shares is None else shares.get(process.pid, 0.0))

    def _shares(self, number: int, device: ctypes.c_void_p) -> dict[int, float] | None:
        """Return the share of the time that each process kept a device busy since the last reading; None if untold."""
        count, since = ctypes.c_uint(), self._sampled.get(number, 0)
        function = getattr(self._library, "nvmlDeviceGetProcessUtilization", None)
        if function is None:
            return None
        code = function(device, None, ctypes.byref(count), ctypes.c_ulonglong(since))
        if code == NONE_FOUND or (code in (OK, TOO_SMALL) and not count.value):
            return {}
        samples = (_Sample * count.value)()
        if code != TOO_SMALL or function(device, samples, ctypes.byref(count), ctypes.c_ulonglong(since)) != OK:
            return None
        taken = [sample for sample in samples[: count.value] if sample.at > since]
        newest = self._sampled[number] = max((sample.at for sample in taken), default=since)
        shares: dict[int, list[float]] = {}
        for sample in taken:
            if sample.at >= newest - SAMPLED_MICROSECONDS:
                shares.setdefault(sample.pid, []).append(sample.busy / 100)
        return {pid: sum(values) / len(values) for pid, values in shares.items()}
