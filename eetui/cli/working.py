"""Working off a queue without the console: in this process, or in several that this one starts and watches."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from core.state import Status
from eetui.cli.harmless_console import HarmlessConsole
from eetui.cli.headless import Headless, Stop

if TYPE_CHECKING:
    from core.session.run import Training

LOOK_SECONDS = 0.1
"""Interval at which processes and signals are looked at."""
IDLE_LOOK_SECONDS = 1.0
"""Interval at which a worker with nothing to do looks into the queue."""
TOLD = (0, 1, 2, 130, 143)
"""Exit codes of workers that ended by themselves, or were told to."""


def work_here(
    database: Path,
    sweep: int | None,
    stop: Stop,
    *,
    once: bool = False,
    idle: float = 0.0,
    slots: int = 1,
    training: "Training | None" = None,
) -> Mapping[int, Status]:
    """Train what is in a queue in this process; return the status of each run.

    Args:
        sweep: the sweep whose queue it is; None: that of all workers.
        once: whether to train one run only.
        idle: seconds to wait for more once the queue is empty.
        slots: how many runs are trained at once, by a `training` elsewhere.
        training: what trains a run; None: this process.
    """
    from core.store.writer import Writer
    from core.sweeps.work import Worker

    headless = Headless({}, HarmlessConsole(sys.stderr), database)
    with Writer(database) as store, stop.listening(), headless.progress:
        worker = Worker(store, sweep, headless.publish, headless.begin, stop, training)
        if sweep is not None and _searches(store.path, sweep):
            from core.sweeps.search import Search

            search = Search(store, sweep)
            worker.publish, worker.given_up = search.watching(headless.publish), search.pruned
            worker.more, worker.after = search.more, search.after
        while True:
            before = len(worker.statuses)
            worker.work(slots, once=once)
            if (once and len(worker.statuses) > before) or not _waits(store.path, sweep, idle, stop):
                return worker.statuses


def work_on(database: Path, run: int, stop: Stop) -> Status | None:
    """Train one run of the queue in this process; None if it has come to its end already."""
    from core.store.queue import take_run
    from core.store.writer import Writer
    from core.sweeps.work import Worker

    headless = Headless({}, HarmlessConsole(sys.stderr), database)
    with Writer(database) as store:
        if not take_run(store, run):
            return None
        with stop.listening(), headless.progress:
            return Worker(store, None, headless.publish, headless.begin, stop).train(run)


def work_in_processes(database: Path, sweep: int, jobs: int, stop: Stop) -> None:
    """Train the runs of a sweep in so many processes; one that dies is started again, its run is not lost.

    They end with this process, at a step and with their checkpoints, whatever ends it.
    """
    workers = [_Process(database, sweep) for _ in range(jobs)]
    with stop.listening():
        while any(worker.is_busy() for worker in workers):
            if stop():
                for worker in workers:
                    worker.end()
            time.sleep(LOOK_SECONDS)


class _Process:
    """A worker in a process of its own; what it says is passed on."""

    def __init__(self, database: Path, sweep: int) -> None:
        words = ["work", "--sweep", str(sweep), "--idle", "0", "--with-parent", "--db", str(database)]
        self._command = [sys.executable, "-m", "eetui", *words]
        self._ended = False
        self._process, self._relay = self._started()

    def is_busy(self) -> bool:
        """Whether it works; one that died is started again, unless it was told to end."""
        code = self._process.poll()
        if code is None:
            return True
        self._relay.join()
        if self._process.stdin:
            self._process.stdin.close()
        if code in TOLD or self._ended:
            return False
        print(f"a worker died (exit code {code}); its run goes on in another", file=sys.stderr)
        self._process, self._relay = self._started()
        return True

    def end(self) -> None:
        """Tell it to end after its step."""
        if not self._ended:
            self._ended = True
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _started(self) -> tuple[subprocess.Popen[str], threading.Thread]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, stdin=pipe, stderr=pipe, text=True, start_new_session=True)
        assert process.stderr is not None
        relay = threading.Thread(target=_pass_on, args=(process.stderr,), daemon=True)
        relay.start()
        return process, relay


def stop_with_parent(stop: Stop) -> None:
    """Stop once standard input ends, as it does with the process at its other end."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        stop.code = stop.code or 143

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _searches(database: Path, sweep: int) -> bool:
    from core.store.reader import Reader
    from core.store.stored_sweeps import find_sweep

    with Reader(database) as reader:
        return find_sweep(reader, str(sweep)).spec["search"] is not None


def _pass_on(lines: IO[str]) -> None:
    with lines:
        for line in lines:
            sys.stderr.write(line)
            sys.stderr.flush()


def _waits(database: Path, sweep: int | None, idle: float, stop: Stop) -> bool:
    """Wait until there is something in a queue; False if nothing came in time, or the worker is to stop."""
    from core.store.queue import waiting
    from core.store.reader import Reader

    until = time.monotonic() + idle
    with Reader(database) as reader:
        while not stop() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            if waiting(reader, sweep):
                return True
            time.sleep(min(IDLE_LOOK_SECONDS, max(0.0, until - time.monotonic())))
    return False
