"""A file system that is really full: training waits until there is room, goes on, and Ctrl-C ends it meanwhile."""

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from core.store.reader import Reader
from tests.faults.training import ENDLESS, started, training, wait_until

MOUNTED = 'mount -t tmpfs -o size=%s tmpfs "$PLACE" && cd "$PLACE" && "$@"'
SMALL_DISK = f'{MOUNTED % "4m"}; code=$?; cp -r "$PLACE/." "$COPY"; exit $code'
"""Runs a command on a file system of its own of 4 MB, and copies what is on it in the end."""


def can_mount(folder: Path) -> bool:
    """Whether one may mount a file system in a name space of one's own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


class Training:
    """A training on a small disk."""

    def __init__(self, process: "subprocess.Popen[bytes]", disk: Path) -> None:
        self.process, self.said, self._disk = process, "", disk
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        wait_until(lambda: self.says("epoch 2/"))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        self.pid = int(children[0])
        self._filler = Path(f"/proc/{self.pid}/root{disk}/filler")

    def says(self, words: str) -> bool:
        assert self.process.stderr is not None
        self.said += (self.process.stderr.read() or b"").decode()
        return words in self.said

    def fill(self) -> None:
        with contextlib.suppress(OSError), open(self._filler, "ab", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)

    def empty(self) -> None:
        self._filler.unlink()

    def stop(self) -> int:
        """Send SIGTERM as Ctrl-C would be; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        code = self.process.wait(60)
        self.says("")
        return code


@pytest.fixture
def on_small_disk(tmp_path: Path, text: Path, environment: dict[str, str]) -> Iterator[Training]:
    place, copy = tmp_path / "disk", tmp_path / "copy"
    place.mkdir()
    copy.mkdir()
    if not can_mount(place):
        pytest.skip("this system lets nobody mount a file system of their own")
    arguments = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", *training(text, *ENDLESS)]
    own = environment | {"PLACE": str(place), "COPY": str(copy)}
    with started(arguments, own, place / "runs.db") as process:
        yield Training(process, place)


def test_training_waits_for_room_and_is_stopped_as_ever(on_small_disk: Training, tmp_path: Path) -> None:
    on_small_disk.fill()
    wait_until(lambda: on_small_disk.says("paused, and goes on by itself once it can"))
    on_small_disk.empty()
    wait_until(lambda: on_small_disk.says("was paused for"))
    assert on_small_disk.stop() == 143
    with Reader(tmp_path / "copy" / "runs.db") as reader:
        assert reader.runs()[0]["status"] == "interrupted"
        assert any("was paused for" in warning for warning in reader.state(1).warnings)
    assert [file.name for file in (tmp_path / "copy" / "runs.db.checkpoints" / "1").iterdir()] == [
        "block0.lm.partial.safetensors"
    ]


@pytest.mark.soak
def test_training_that_waits_for_room_can_be_stopped(on_small_disk: Training, tmp_path: Path) -> None:
    on_small_disk.fill()
    wait_until(lambda: on_small_disk.says("paused, and goes on by itself once it can"))
    assert on_small_disk.stop() == 143
    assert "Traceback" not in on_small_disk.said
    assert "interrupted: stopped by the user while" in on_small_disk.said
    connection = sqlite3.connect(tmp_path / "copy" / "runs.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_disk_that_is_full_from_the_start_is_exit_code_1(
    tmp_path: Path, text: Path, environment: dict[str, str]
) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this system lets nobody mount a file system of their own")
    arguments = ["unshare", "-rm", "sh", "-c", MOUNTED % "4k", "sh", *training(text, *ENDLESS)]
    with started(arguments, environment | {"PLACE": str(tmp_path)}, tmp_path / "runs.db") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert b"is full: make room" in errors
    assert b"Traceback" not in errors
