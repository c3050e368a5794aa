"""Workers in processes of their own, which this one starts, watches, and starts again where one dies."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from eetui.cli.headless import Stop

LOOK_SECONDS = 0.1
"""Interval at which processes and signals are looked at."""
TOLD = (0, 1, 2, 3, 129, 130, 143)
"""Exit codes of workers that ended by themselves, or were told to."""
MOST_STARTS = 5
"""Processes of a worker in a row that may die before they take a run."""
PAUSE_SECONDS = 1.0
"""Pause after the first of them; it doubles with each."""


def work_in_processes(database: Path, sweep: int, jobs: int, stop: Stop, mirrors: Sequence[str] = ()) -> None:
    """Train the runs of a sweep in so many processes; one that dies is started again, its run is not lost.

    One whose process dies again and again before it takes a run is given up. They end with this process, at a step and
    with their checkpoints, whatever ends it.

    Args:
        mirrors: the trackers that each tells of its runs, as `--mirror` takes them.
    """
    workers = [_Process(database, sweep, mirrors) for _ in range(jobs)]
    with stop.listening():
        while any([worker.is_busy() for worker in workers]):
            if stop():
                for worker in workers:
                    worker.end()
            time.sleep(LOOK_SECONDS)
    if given_up := [worker for worker in workers if worker.deaths == MOST_STARTS]:
        print(
            f"{len(given_up)} of {jobs} workers given up: {MOST_STARTS} processes in a row died before they took a "
            f"run, the last with exit code {given_up[0].code}: see what ends them (too little memory?)",
            file=sys.stderr,
        )


def stop_with_parent(stop: Stop) -> None:
    """Stop once standard input ends, as it does with the process at its other end."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        stop.code = stop.code or 143

    threading.Thread(target=watch, name="parent", daemon=True).start()


class _Process:
    """A worker in a process of its own; what it says is passed on.

    Attributes:
        code: exit code of its last process; None before.
        deaths: its processes in a row that died before they took a run.
    """

    def __init__(self, database: Path, sweep: int, mirrors: Sequence[str]) -> None:
        self._database, self._sweep = database, sweep
        words = ["work", "--sweep", str(sweep), "--idle", "0", "--with-parent", "--db", str(database)]
        told = [word for each in mirrors for word in ("--mirror", each)]
        self._command = [sys.executable, "-m", "eetui", *words, *told]
        self.code: int | None = None
        self.deaths = 0
        self._ended = False
        self._starts_at: float | None = None
        self._process, self._relay = self._started()

    def is_busy(self) -> bool:
        """Whether it works or is to be started again; one that died is, unless it was told to end or is given up."""
        if self._starts_at is not None:
            if self._ended:
                return False
            if time.monotonic() >= self._starts_at:
                self._starts_at = None
                self._process, self._relay = self._started()
            return True
        if self.code in TOLD or self.deaths == MOST_STARTS:
            return False
        self.code = self._process.poll()
        if self.code is None:
            return True
        self._relay.join()
        if self._process.stdin:
            self._process.stdin.close()
        return not (self.code in TOLD or self._ended) and self._goes_on()

    def end(self) -> None:
        """Tell it to end after its step."""
        if not self._ended:
            self._ended = True
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _goes_on(self) -> bool:
        """Choose when a worker that died starts again; False if it is given up."""
        if self._took_a_run():
            self.deaths, pause = 0, 0.0
            print(f"a worker died (exit code {self.code}); its run goes on in another", file=sys.stderr)
        else:
            self.deaths += 1
            if self.deaths == MOST_STARTS:
                return False
            pause = PAUSE_SECONDS * 2 ** (self.deaths - 1)
            again = f"another starts in {pause:g} s"
            print(f"a worker died before it took a run (exit code {self.code}); {again}", file=sys.stderr)
        self._starts_at = time.monotonic() + pause
        return True

    def _took_a_run(self) -> bool:
        """Whether a run of the sweep is, or was last, that of the process that died."""
        from core.store.reader import Reader
        from core.store.stored_sweeps import has_run_of

        with Reader(self._database) as reader:
            return has_run_of(reader, self._sweep, self._process.pid)

    def _started(self) -> tuple[subprocess.Popen[str], threading.Thread]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, stdin=pipe, stderr=pipe, text=True, start_new_session=True)
        assert process.stderr is not None
        relay = threading.Thread(target=_pass_on, args=(process.stderr,), daemon=True)
        relay.start()
        return process, relay


def _pass_on(lines: IO[str]) -> None:
    with lines:
        for line in lines:
            sys.stderr.write(line)
            sys.stderr.flush()
