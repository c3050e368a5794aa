"""Estimates from a separate process, requested over a pipe.

An estimate can't be made in the caller's process: importing torch and reading a corpus block the screen; torch's thread
count is shared by the whole process, so a run in training would change its numbers; and a model too large for the
machine would kill the process.

    → {"number": 1, "config": "…", "methods": ["loss"], "seeds": 1, "held": 123}
    ← {"number": 1, "begun": true}
    ← {"number": 1, "estimate": {…}}   or "error": "…", or "stopped": true when another request came
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from core.config.derived import dataset_settings
from core.config.run_config import RunConfig
from core.errors import EetuiError, UsageError
from core.estimate.estimate import Estimate, estimate, read_sizes
from core.estimate.workload import Sizes, Span
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import pinned
from core.machine.processes import memory_now

ShouldStop = Callable[[], bool]
LOOK_SECONDS = 0.05
"""Interval between two checks of `should_stop`."""
PATIENCE_SECONDS = 2.0
"""Time after which a process that has not begun a new request is taken to be in a very long step, and replaced."""


class Estimator:
    """Client of the process: one request at a time, from any thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._number = 0
        self._unread = b""

    def estimate(
        self, config: RunConfig, methods: Sequence[str], seeds: int, should_stop: ShouldStop = lambda: False
    ) -> Estimate | None:
        """Estimate an experiment; None if stopped.

        Args:
            methods: exit methods, each trained with every seed.
            seeds: number of consecutive seeds, from the config's on.

        Raises:
            UsageError: the corpus can't be used, the device does not exist, or the memory is too small.
        """
        with self._lock:
            if should_stop():
                return None
            self._number += 1
            given = config.model_dump_json(exclude_unset=True)  # of a pretrained model most is yet to be filled in
            request = {"config": given, "methods": [*methods], "seeds": seeds}
            line = json.dumps({"number": self._number, "held": memory_now(), **request}).encode() + b"\n"
            warm = self._process is not None
            answer = self._ask(line, should_stop, begin_within=PATIENCE_SECONDS if warm else None)
            if answer is None and not should_stop():
                self._discard()
                answer = self._ask(line, should_stop, begin_within=None)
        if answer is None:
            return None
        if "error" in answer:
            raise UsageError(answer["error"])
        return _decode(answer["estimate"])

    def close(self) -> None:
        """Kill the process, whatever it is doing; another request would start a new one."""
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._discard()

    def _discard(self) -> int | None:
        """Kill the process, close its pipes, and return its exit code; None if there is none."""
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return None
        process.kill()
        for pipe in _pipes(process):
            pipe.close()
        return process.wait()

    def _ask(self, line: bytes, should_stop: ShouldStop, begin_within: float | None) -> dict[str, Any] | None:
        """Send a request and wait for the answer; None if stopped, or not begun in time."""
        self._process = process = self._process or _start()
        asked, begun = time.monotonic(), False
        stdin, stdout = _pipes(process)
        try:
            stdin.write(line)
            while not should_stop():
                for answer in self._answers(stdout):
                    if answer["number"] == self._number and "begun" not in answer:
                        return answer
                    begun = begun or answer["number"] == self._number
                if not begun and begin_within is not None and time.monotonic() - asked > begin_within:
                    return None
        except (BrokenPipeError, EOFError):
            code = self._discard()
            return {"error": f"the measurement ended early (exit code {code}): is there enough memory for this model?"}
        return None

    def _answers(self, stdout: IO[bytes]) -> list[dict[str, Any]]:
        """Return the complete lines received by now, after a short wait if there is none."""
        if select.select([stdout], [], [], LOOK_SECONDS)[0]:
            read = os.read(stdout.fileno(), 1 << 16)
            if not read:
                raise EOFError
            self._unread += read
        *lines, self._unread = self._unread.split(b"\n")
        return [json.loads(line) for line in lines]


def main() -> None:
    """Answer requests from standard input until it ends. Nothing else may write to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sizes: dict[object, Sizes] = {}
    with open(0, "rb", buffering=0, closefd=False) as requests:
        while line := requests.readline():
            request = json.loads(line)
            for part in ({"begun": True}, None):
                answer = part or _answer(request, sizes, lambda: bool(select.select([requests], [], [], 0)[0]))
                print(json.dumps({"number": request["number"], **answer}), file=answers, flush=True)


def _answer(request: dict[str, Any], sizes: dict[object, Sizes], should_stop: ShouldStop) -> dict[str, Any]:
    """Return the answer to a request: an estimate, an error, or that it was stopped."""
    config = RunConfig.model_validate_json(request["config"])
    configs = [
        config.model_copy(update={"method": method, "seed": config.seed + offset})
        for offset in range(request["seeds"])
        for method in [pinned(EXIT_METHODS, reference) for reference in request["methods"]]
    ]
    key = dataset_settings(config)
    try:
        if key not in sizes:
            sizes[key] = read_sizes(config)
        found = estimate(configs, sizes[key], request["held"], should_stop)
    except EetuiError as error:
        return {"error": str(error)}
    except Exception as error:  # torch's own, for a model too large: show it, and keep answering
        return {"error": f"{type(error).__name__}: {error}"}
    return {"stopped": True} if found is None else {"estimate": asdict(found)}


def _decode(values: dict[str, Any]) -> Estimate:
    fields: dict[str, Any] = {name: Span(**v) if isinstance(v, dict) else v for name, v in values.items()}
    return Estimate(**fields)


def _start() -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "core.estimate.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # Ctrl-C at the terminal must not reach it
        env={**os.environ, "PYTHONPATH": path},
    )


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


if __name__ == "__main__":
    main()
