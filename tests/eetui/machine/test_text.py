"""The panes of the Machine screen: every figure is written out, and what a system does not tell is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from core.machine.disks import Disk
from eetui.drawing.palette import Palette
from eetui.machine.text import Shown, cpu_pane, disk_pane, gpu_pane, memory_pane, process_pane
from tests.eetui.machine.fake_reading import GIB, READING, SILENT, TRAINER

STYLE = Palette()
SHOWN = Shown(READING, (0.25, 0.5, 1.0), names={TRAINER: "trains loss-1"})


def lines(pane: Text) -> list[str]:
    return [" ".join(line.split()) for line in pane.plain.replace("━", "").replace("─", "").splitlines()]


def test_processors_all_each_and_by_this_process() -> None:
    assert lines(cpu_pane(SHOWN, 78, STYLE)) == [
        "CPU 4 cores, 2 granted by the control group, load 2.5",
        "all 44% 1.8 cores",
        "last minute ▃▅█",
        "by core 0: 100% 1: 50% 2: 25% 3: 0%",
        "this console 1% 0.0 cores",
    ]


def test_many_processors_get_a_cell_each_and_are_counted() -> None:
    busy = tuple((number, 1.0 if number < 3 else 0.0) for number in range(64))
    many = Shown(replace(READING, cores=64, busy=busy))
    assert "by core ███▁" in lines(cpu_pane(many, 100, STYLE))[3]
    assert lines(cpu_pane(many, 100, STYLE))[3].endswith("3 busy")
    assert lines(cpu_pane(many, 60, STYLE))[3] == "by core 3 busy"


def test_memory_that_is_nearly_full_says_so() -> None:
    assert lines(memory_pane(SHOWN, 78, STYLE)) == [
        "Memory 512 MiB can still be taken",
        "machine 94% 15.0 GiB of 16.0 GiB ! nearly full",
        "this console 1% 100 MiB, at most 256 MiB so far",
    ]


def test_a_gpu_and_its_processes_each_with_its_share() -> None:
    assert lines(gpu_pane(SHOWN, 78, STYLE)) == [
        "GPU 1 of NVIDIA",
        "0 NVIDIA H100 80GB HBM3",
        "busy 87%",
        "memory 39% 31.0 GiB of 80.0 GiB",
    ]
    assert lines(process_pane(SHOWN, 78)) == [
        "Processes",
        "pid process CPU memory GPU GPU memory",
        "4711 this console 3% 100 MiB – –",
        "4712 trains loss-1 150% 3.0 GiB 80% 22.0 GiB",
        "99 blender 20% 5.0 GiB 7% 8.0 GiB",
        "7 another process – – – –",
    ]


def test_a_system_that_tells_little_says_what_it_does_not_tell() -> None:
    silent = Shown(SILENT)
    assert lines(cpu_pane(silent, 78, STYLE))[1] == "all how busy they are this system does not tell"
    assert lines(cpu_pane(silent, 78, STYLE))[2] == "this console 6% 0.5 cores"
    assert lines(memory_pane(silent, 78, STYLE))[1:] == [
        "machine 16.0 GiB in all; what is in use this system does not tell",
        "this console at most 256 MiB so far",
    ]
    assert lines(gpu_pane(silent, 78, STYLE)) == ["GPU", "what a GPU does is not told here"]
    assert lines(gpu_pane(silent, 24, STYLE)) == ["GPU", "what a GPU does is not", "told here"]
    assert lines(process_pane(silent, 78))[1] == "pid process CPU memory"


def test_rates_are_measured_until_there_is_a_second_reading() -> None:
    first = replace(READING, busy=None, processes=(replace(READING.processes[0], cores=None),))
    assert [line for line in lines(cpu_pane(Shown(first), 78, STYLE)) if "measuring" in line] == [
        "all measuring …",
        "this console measuring …",
    ]


@pytest.mark.parametrize(
    ("disk", "end"),
    [
        (Disk(Path("/d"), 120 * GIB, 200 * GIB, kind="ext4"), "40% 120.0 GiB free of 200.0 GiB, ext4"),
        (Disk(Path("/d"), GIB // 2, 200 * GIB), "100% 512 MiB free of 200.0 GiB ! little is left"),
        (Disk(Path("/d"), 120 * GIB, 200 * GIB, writable=False), "40% 120.0 GiB free of 200.0 GiB ! read-only"),
    ],
)
def test_a_disk_says_what_is_free_and_what_is_wrong_with_it(disk: Disk, end: str) -> None:
    shown = Shown(replace(READING, disks=(disk,)), places={Path("/d"): "caches"})
    assert lines(disk_pane(shown, 78, STYLE, folders=False)) == ["Disk", f"caches {end}"]
    assert lines(disk_pane(shown, 78, STYLE))[2] == "/d"


@pytest.mark.parametrize("width", [40, 60, 78, 120])
def test_no_line_is_wider_than_its_place_but_for_sentences(width: int) -> None:
    panes = (process_pane(SHOWN, width), cpu_pane(Shown(READING, (0.5,) * 60), width, STYLE))
    for line in (line for pane in panes for line in pane.plain.splitlines() if "granted" not in line):
        assert len(line.rstrip()) <= width
