"""A training in a process of its own, to which things are done while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from core.state import RunState
from core.store.reader import Reader
from tests.conftest import TINY, set_options
from tests.forked import Forked

ROOT = Path(__file__).parents[2]
LONG = ("max_epochs=30", "patience=30", "exit_epochs=2", "machine.threads=1")
"""Some seconds of training."""
SOAK = os.environ.get("EETUI_SOAK")  # tests themselves see no variables of ours
ENDLESS = ("max_epochs=100000", "patience=100000", "machine.threads=1")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "eetui", *arguments]


def training(text: Path, *settings: str, methods: Sequence[str] = ("loss",)) -> list[str]:
    """The command that trains runs of these methods on a text, headless."""
    chosen = [word for method in methods for word in ("-m", method)]
    return command("run", "--no-ui", "--corpus", str(text), *chosen, *set_options(*TINY, *settings))


@contextmanager
def forked(arguments: Sequence[str], environment: Mapping[str, str], db: Path, **options: Any) -> Iterator[Forked]:
    """The command on a database, in a process that is quick to start; whatever happens, it is gone in the end."""
    own = {**environment, "PYTHONPATH": str(ROOT), "EETUI_DB": str(db)}
    with closing(Forked(arguments[1:], own, db.parent, **options)) as process:
        yield process


@contextmanager
def started(
    arguments: Sequence[str], environment: Mapping[str, str], db: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on a database, with streams of its own; whatever happens, it is gone in the end."""
    process = subprocess.Popen(
        arguments,
        env={**environment, "PYTHONPATH": str(ROOT), "EETUI_DB": str(db)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": db.parent, **options},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "waited for too long"
        time.sleep(0.05)


def epochs(db: Path, run: int = 1, stage: str = "block0.lm") -> int:
    """How many epochs of a stage are stored."""
    if not db.exists():
        return 0
    with Reader(db) as reader:
        if not reader.live():
            return 0
        found = next((found for found in reader.state(run).stages if found.name == stage), None)
        return found.epoch if found else 0


def ended(process: subprocess.Popen[bytes] | Forked, seconds: float = 90.0) -> tuple[int | None, str]:
    """Exit code and standard error of a process that ends by itself."""
    _, errors = process.communicate(timeout=seconds)
    return process.returncode, errors if isinstance(errors, str) else (errors or b"").decode()


def listed(db: Path) -> list[dict[str, Any]]:
    """The rows of all runs, as a reader sees them."""
    with Reader(db) as reader:
        return reader.runs()


def results(db: Path, run: int = 1) -> str:
    """Everything that a run measured, bit for bit, as text."""
    with Reader(db) as reader:
        state: RunState = reader.state(run)
        losses = [list(reader.window_losses(run, measured.name)) for measured in state.measured]
        tokens = [repr(block) for block in reader.token_statistics(run)]
        return json.dumps([[repr(measured) for measured in state.measured], losses, tokens])


def soak(quick: int) -> int:
    """How often something random is tried: a few times, or as often as EETUI_SOAK says (`make soak`)."""
    return int(SOAK or quick)
