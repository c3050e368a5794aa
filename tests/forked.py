"""Run `eetui …` in a process of its own that is forked from one which has imported torch already.

Importing torch takes longer than most commands. What a command imports of eetui, reads of its environment and leaves
behind is as in a fresh process; tests of the start of Python, or of what is imported, start one.
"""

import io
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

PRELOADED = [
    "torch", "torch._dynamo", "numpy", "pydantic", "textual.app", "typer", "sqlite_utils", "tokenizers",
]  # fmt: skip


class Forked:
    """A command that runs, as `subprocess.Popen`; its output goes to files."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.arguments = list(arguments)
        self._outputs = TemporaryDirectory()
        self._out, self._err = (Path(self._outputs.name, name) for name in ("out", "err"))
        for path in (self._out, self._err):
            path.touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        streams = (self._out, self._err)
        self._process = context.Process(target=_eetui, args=(self.arguments, dict(environment), folder, *streams))
        self._process.start()
        self.pid = self._process.pid or 0

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
        if self.poll() is None:
            self.kill()
            self._process.join()
        self._outputs.cleanup()


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `eetui` with these arguments; the result is that of `subprocess.run`.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout` seconds.
    """
    process = Forked(arguments, environment, folder)
    try:
        out, err = process.communicate(timeout)
        return subprocess.CompletedProcess(process.arguments, process.returncode or 0, out, err)
    finally:
        process.close()


def _eetui(arguments: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path) -> None:
    """Become the process of the command: its folder, environment, streams and arguments."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), errors="backslashreplace", write_through=True)
    sys.argv[1:] = arguments
    runpy.run_module("eetui", run_name="__main__", alter_sys=True)
