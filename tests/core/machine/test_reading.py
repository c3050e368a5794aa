"""Readings of the machine: rates between two of them, and what a system does not tell."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from core.machine import disks, reading
from core.machine.disks import disk_of
from core.machine.gpus import Gpus
from core.machine.processes import Process
from core.machine.reading import Meter

NO_GPUS = Gpus(lambda name: (_ for _ in ()).throw(OSError(name)), "linux")


def meter(monkeypatch: pytest.MonkeyPatch, *stats: str, seconds: float = 2.0) -> Meter:
    """Return a meter of two processors that reads these texts of /proc/stat, so many seconds apart."""
    times, texts, used = iter(range(100)), iter(stats), iter(range(100))
    monkeypatch.setattr(reading, "allowed_cores", lambda: {0, 1})
    monkeypatch.setattr(reading, "text_of", lambda path: next(texts) if path == "/proc/stat" else "")
    monkeypatch.setattr(reading, "read_process", lambda pid: Process(pid, "p", float(next(used))))
    return Meter(NO_GPUS, lambda: seconds * next(times))


def test_rates_are_those_between_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    taken = meter(monkeypatch, "cpu0 0 0 0 0\ncpu1 0 0 0 0\n", f"cpu0 {2 * ticks} 0 0 0\ncpu1 {ticks} 0 0 0\n")
    first, second = taken.read(), taken.read()
    assert first.busy is None
    assert first.processes[0].cores is None
    assert second.busy == ((0, 1.0), (1, 0.5))
    assert second.busy_cores == 1.5
    assert second.processes[0].cores == 0.5


def test_a_system_without_proc_tells_little_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = meter(monkeypatch, "", "", "")
    taken.read()
    found = taken.read()
    assert found.busy is None
    assert found.busy_cores is None
    assert found.available is None
    assert found.no_gpu


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it in /proc")
def test_this_machine_is_read(tmp_path: Path) -> None:
    taken = Meter(NO_GPUS)
    taken.read()
    found = taken.read([os.getppid()], [tmp_path, tmp_path / "later"])
    assert [process.pid for process in found.processes] == [os.getpid(), os.getppid()]
    assert found.memory is not None
    assert found.available is not None
    assert 0 < found.available < found.memory
    assert [disk.folder for disk in found.disks] == [tmp_path, tmp_path / "later"]


def test_a_disk_that_can_not_be_asked_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(folder: Path) -> Any:
        raise OSError("stale handle")

    monkeypatch.setattr(disks.shutil, "disk_usage", gone)
    assert Meter(NO_GPUS).read((), [tmp_path]).disks == ()


def test_a_folder_that_is_not_there_yet_has_the_disk_of_the_one_above(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "not" / "there")
    assert disk.folder == tmp_path / "not" / "there"
    assert 0 <= disk.free <= disk.total
    assert disk.writable
