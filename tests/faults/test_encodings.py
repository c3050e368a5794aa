"""Terminals that are not UTF-8, or none at all: commands and the console draw in ASCII, and it ends when told."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store.writer import Writer
from tests.faults.training import ROOT, command
from tests.hostile import call
from tests.scripted_runs import make_database

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}
SECONDS = 60


class Pty:
    """A command on a terminal of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        kept = {name: value for name, value in environment.items() if not name.startswith(("LC_", "LANG"))}
        self.process = subprocess.Popen(
            command(),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=kept | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = b""

    def read(self) -> None:
        """Read what is shown, for a moment at most."""
        if select.select([self.master], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                self.shown += os.read(self.master, 1 << 16)

    def wait_for(self, text: bytes) -> None:
        give_up = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < give_up, self.shown[-2000:]
            self.read()

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def code(self) -> int:
        """Wait for the end and return the exit code."""
        give_up = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < give_up, "it outlives its end"
            if self.master >= 0:
                self.read()
            else:
                time.sleep(0.05)
        return int(self.process.returncode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Writer(tmp_path / "runs.db"):
        pass
    return tmp_path


@contextlib.contextmanager
def console(folder: Path, environment: dict[str, str], **more: str) -> Iterator[Pty]:
    own = {"EETUI_DB": str(folder / "runs.db"), "TERM": "xterm-256color"}
    opened = Pty(environment | own | more, folder)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        if opened.master >= 0:
            opened.hang_up()


@pytest.mark.parametrize("ending", ["q", "SIGTERM", "SIGHUP", "hang up"])
def test_a_console_in_ascii_is_drawn_and_ends(ending: str, folder: Path, environment: dict[str, str]) -> None:
    with console(folder, environment, **ASCII) as opened:
        opened.wait_for(b"runs")
        opened.wait_for(b"Help")
        assert opened.shown.isascii()
        if ending == "q":
            os.write(opened.master, b"q")
        elif ending == "hang up":
            opened.hang_up()
        else:
            opened.process.send_signal(signal.Signals[ending])
        assert opened.code() == {"q": 0, "SIGTERM": 143}.get(ending, 129)


def test_a_console_in_latin_1_is_drawn_and_ends(folder: Path, environment: dict[str, str]) -> None:
    with console(folder, environment, **LATIN) as opened:
        opened.wait_for(b"Help")
        os.write(opened.master, b"q")
        assert opened.code() == 0


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_that_can_not_place_text_is_told(kind: str, folder: Path, environment: dict[str, str]) -> None:
    with console(folder, environment, TERM=kind) as opened:
        assert opened.code() == 2
        opened.wait_for(b"the console needs a terminal that can place text")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
@pytest.mark.parametrize(
    "arguments", [["ls"], ["show", "1"], ["compare"], ["compare", "--format", "csv"], ["--help"]], ids=" ".join
)
def test_commands_draw_with_what_the_encoding_has(
    arguments: list[str], encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EETUI_DB", str(make_database(tmp_path / "runs.db")))
    for terminal in (True, False):
        code, out, err = call(arguments, monkeypatch, terminal=terminal, encoding=encoding)
        assert (code, err) == (0, "")
        assert out.strip()
