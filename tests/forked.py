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

PRELOADED = ["torch", "torch._dynamo", "numpy", "pydantic", "textual.app", "typer", "sqlite_utils", "tokenizers"]


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `eetui` with these arguments; the result is that of `subprocess.run`.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with TemporaryDirectory() as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        process = context.Process(target=_eetui, args=(list(arguments), dict(environment), folder, out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(list(arguments), process.exitcode, out.read_text(), err.read_text())


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
