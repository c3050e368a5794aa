"""Run Python, `eetui …` above all, in a process of its own that is forked from one which has imported torch already.

Importing torch takes longer than most commands. What a command imports of eetui, reads of its environment and leaves
behind is as in a fresh process; tests of the start of Python, or of what is imported, start one.
"""

import fcntl
import io
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

PRELOADED = [
    "torch", "torch._dynamo", "numpy", "pydantic", "textual.app", "typer", "sqlite_utils", "tokenizers",
]  # fmt: skip


class Forked:
    """A Python process that runs, as `subprocess.Popen`; its output goes to files.

    Args:
        arguments: those of Python: -m MODULE … or -c CODE …
        terminal: descriptor of all its streams.
        before: called in the process; a function of a module, which the process imports.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        terminal: int | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.arguments = list(arguments)
        outputs = mkdtemp()
        self._out, self._err = (Path(outputs, name) for name in ("out", "err"))
        for path in (self._out, self._err):
            path.touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        streams = _Streams(self._out, self._err, terminal)
        self._process = context.Process(
            target=_become, args=(self.arguments, dict(environment), folder, streams, before)
        )
        self._process.start()
        self.pid = self._process.pid or 0
        # also of one that a failed test left behind, before multiprocessing would wait for its end
        self._end = Finalize(self, _end, (self._process, outputs), exitpriority=10)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def outputs(self) -> tuple[str, str]:
        """Return what it has written so far to standard output and to standard error."""
        return self._out.read_text(), self._err.read_text()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it wrote to standard output and to standard error.

        Raises:
            subprocess.TimeoutExpired: it ran longer than `timeout` seconds; it goes on.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout or 0.0, *self.outputs())
        return self.outputs()

    def close(self) -> None:
        """Kill it if it still runs, and remove its files."""
        self._end()


def _end(process: BaseProcess, outputs: str) -> None:
    if process.exitcode is None:
        process.kill()
        process.join()
    shutil.rmtree(outputs)


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `eetui` with these arguments; the result is that of `subprocess.run`.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout` seconds.
    """
    process = Forked(["-m", "eetui", *arguments], environment, folder)
    try:
        out, err = process.communicate(timeout)
        return subprocess.CompletedProcess(list(arguments), process.returncode or 0, out, err)
    finally:
        process.close()


@dataclass(frozen=True)
class _Streams:
    """Where the output of a process goes: to two files, or to a terminal, which is passed on when this is pickled."""

    out: Path
    err: Path
    terminal: int | None

    def __reduce__(self) -> tuple[object, ...]:
        terminal = None if self.terminal is None else reduction.DupFd(self.terminal)
        return _Streams._received, (self.out, self.err, terminal)

    @staticmethod
    def _received(out: Path, err: Path, terminal: Any) -> "_Streams":
        return _Streams(out, err, None if terminal is None else terminal.detach())

    def take(self) -> None:
        """Make them the streams of this process."""
        if self.terminal is None:
            for descriptor, path in ((1, self.out), (2, self.err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        else:
            for descriptor in range(3):
                os.dup2(self.terminal, descriptor)
            os.close(self.terminal)
            sys.stdin = sys.__stdin__ = open(0, closefd=False)
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False))
        sys.stderr = sys.__stderr__ = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), errors="backslashreplace", write_through=True
        )


def take_terminal() -> None:
    """Begin a session whose terminal is standard input."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def ignore_hang_ups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _become(
    arguments: list[str],
    environment: dict[str, str],
    folder: Path,
    streams: _Streams,
    before: Callable[[], object] | None,
) -> None:
    """Become the process of the command: its folder, environment, streams and arguments; it heeds hang-ups at first."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    streams.take()
    if before is not None:
        before()
    kind, what, *rest = arguments
    sys.argv[1:] = rest
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
