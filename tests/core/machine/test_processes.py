"""Time and memory of a process, and none of one that is gone."""

import os
import subprocess
import sys
import time

import pytest

from core.machine import processes
from core.machine.processes import command_line, memory_now, parsed, peak_memory, read_process, resident_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it in /proc")
STAT = "42 (a) name) R 1 42 42 0 -1 4194304 100 0 0 0 300 100 0 0 20 0 4 0 12345 1000000 25 18446744073709551615 1 1"


def test_the_text_of_a_process_whose_name_has_a_bracket() -> None:
    found = parsed(42, STAT)
    assert found is not None
    assert found.name == "a) name"
    assert found.seconds == 400 / os.sysconf("SC_CLK_TCK")
    assert found.memory == 25 * os.sysconf("SC_PAGE_SIZE")


def test_a_dead_process_and_one_that_is_not_there_are_none() -> None:
    assert parsed(42, STAT.replace(" R ", " Z ")) is None
    assert parsed(42, "") is None


@linux
def test_this_process_uses_time_and_memory() -> None:
    before = read_process(os.getpid())
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    after = read_process(os.getpid())
    assert before is not None
    assert after is not None
    assert after.seconds > before.seconds
    assert after.memory == pytest.approx(resident_memory(), rel=0.2)
    assert memory_now() <= peak_memory() * 1.05


@linux
def test_a_process_that_has_ended_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        assert read_process(child.pid) is None


def test_without_proc_this_process_is_known_by_its_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "text_of", lambda path: "")
    own = read_process(os.getpid())
    assert own is not None
    assert own.seconds > 0
    assert own.memory is None
    assert read_process(1) is None
    assert memory_now() == peak_memory()


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/venv/bin/eetui", "eetui run --set 'name=a b'"),
        ("/site-packages/eetui/__main__.py", "python -m eetui run --set 'name=a b'"),
        ("work/loop.py", "loop.py run --set 'name=a b'"),
    ],
)
def test_a_command_can_be_typed_again(program: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "--set", "name=a b"])
    assert command_line() == command
