"""What memory is free: of the machine, of control groups, and within a process's limits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.machine.free_memory import available, free_memory, is_out_of_memory, left_in

MEMINFO = "MemTotal:  16000000 kB\nMemFree:  100 kB\nMemAvailable:   2000000 kB\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_machine_has_what_is_available() -> None:
    assert list(available(MEMINFO)) == [2_000_000 * 1024]
    assert list(available("")) == []


def test_a_group_has_what_it_does_not_use_but_for_files(tmp_path: Path) -> None:
    stat = "anon 5\ninactive_file 300\n"
    group = write(tmp_path, memory__max="1000\n", memory__current="700\n", memory__stat=stat)
    assert list(left_in(group)) == [600]


@pytest.mark.parametrize("most", ["max\n", "9223372036854771712\n"])
def test_a_group_without_a_limit_limits_nothing(most: str, tmp_path: Path) -> None:
    assert list(left_in(write(tmp_path, memory__max=most, memory__current="7\n"))) == []
    assert list(left_in(tmp_path / "missing")) == []


def test_a_group_of_version_1(tmp_path: Path) -> None:
    files = {"memory__limit_in_bytes": "1000\n", "memory__usage_in_bytes": "900\n"}
    assert list(left_in(write(tmp_path, **files, memory__stat="total_inactive_file 50\n"))) == [150]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits address space")
def test_a_limit_of_the_process_counts() -> None:
    script = "from core.machine.free_memory import free_memory; print(free_memory())"
    line = f'ulimit -v 500000; exec {sys.executable} -c "{script}"'
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert 0 < int(done.stdout) < 500_000 * 1024


def test_a_device_that_does_not_tell_has_no_figure() -> None:
    assert free_memory("mps") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_so(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
