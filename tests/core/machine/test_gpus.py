"""What NVIDIA's library tells is read, and what it does not tell is None."""

import ctypes
from typing import Any

import pytest

from core.machine.gpus import NO_LIBRARY, NONE_FOUND, OF_APPLE, TOO_SMALL, UNKNOWN, Gpu, Gpus, OnGpu

NOT_SUPPORTED = 3


class Library:
    """A library of one GPU with two processes; functions named in `refused` answer with that code."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused
        self.samples = [(11, 5_000_000, 80), (11, 5_100_000, 60), (11, 1_000_000, 3)]
        self.asked_since: list[int] = []

    def __getattr__(self, name: str) -> Any:
        function = getattr(type(self), f"_{name}")
        return lambda *arguments: self.refused[name] if name in self.refused else function(self, *arguments)

    def _nvmlInit_v2(self) -> int:  # as the library calls it, here and below
        return 0

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:
        handle._obj.value = 1000 + number
        return 0

    def _nvmlDeviceGetName(self, device: Any, name: Any, length: int) -> int:
        name.value = b"H100"
        return 0

    def _nvmlDeviceGetUtilizationRates(self, device: Any, rates: Any) -> int:
        rates._obj.gpu = 87
        return 0

    def _nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.used = 80, 30
        return 0

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, device: Any, count: Any, found: Any) -> int:
        found[0].pid, found[0].memory = 11, 20
        found[1].pid, found[1].memory = 12, UNKNOWN
        count._obj.value = 2
        return 0

    def _nvmlDeviceGetProcessUtilization(self, device: Any, found: Any, count: Any, since: Any) -> int:
        self.asked_since.append(since.value)
        newer = [sample for sample in self.samples if sample[1] > since.value]
        count._obj.value = len(newer)
        if not newer:
            return NONE_FOUND
        if found is None:
            return TOO_SMALL
        for place, (pid, at, busy) in zip(found, newer, strict=True):
            place.pid, place.at, place.busy = pid, at, busy
        return 0


def gpus(library: Library) -> Gpus:
    return Gpus(lambda name: library, "linux")


def test_a_gpu_with_its_processes_and_the_mean_of_their_latest_samples() -> None:
    assert gpus(Library()).read() == (
        Gpu(0, "H100", 0.87, 30, 80, (OnGpu(11, 20, pytest.approx(0.7)), OnGpu(12, None, 0.0))),
    )


def test_a_process_without_new_samples_does_nothing_now() -> None:
    library = Library()
    read = gpus(library)
    read.read()
    (gpu,) = read.read()
    assert library.asked_since == [0, 0, 5_100_000]
    assert [process.share for process in gpu.processes] == [0.0, 0.0]


def test_what_the_driver_does_not_tell_is_none() -> None:
    untold = dict.fromkeys(
        ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetProcessUtilization"), NOT_SUPPORTED
    )
    (gpu,) = gpus(Library(**untold)).read()
    assert gpu == Gpu(0, "H100", None, None, None, (OnGpu(11, 20), OnGpu(12, None)))
    (gpu,) = gpus(Library(nvmlDeviceGetComputeRunningProcesses_v3=NOT_SUPPORTED)).read()
    assert gpu.processes == ()


@pytest.mark.parametrize(("platform", "why"), [("linux", NO_LIBRARY), ("darwin", OF_APPLE)])
def test_without_a_library_it_says_why_and_tries_no_more(platform: str, why: str) -> None:
    tried: list[str] = []

    def missing(name: str) -> Any:
        tried.append(name)
        raise OSError(name)

    read = Gpus(missing, platform)
    assert read.read() == read.read() == ()
    assert read.missing == why
    assert len(tried) == 1


def test_a_driver_that_can_not_be_asked_is_said_with_its_error() -> None:
    read = gpus(Library(nvmlInit_v2=18))
    assert read.read() == ()
    assert "NVML error 18" in read.missing


def test_its_structures_are_those_of_the_library() -> None:
    from core.machine import gpus as module

    assert ctypes.sizeof(module._Process) == 24
    assert ctypes.sizeof(module._Sample) == 32
    assert ctypes.sizeof(module._Memory) == 24
    assert ctypes.sizeof(module._Rates) == 8
