"""Working off a queue without the console, in this process; and waiting for those who do so elsewhere."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.state import Status
from eetui.cli.harmless_console import HarmlessConsole
from eetui.cli.headless import Headless, Stop

if TYPE_CHECKING:
    from core.session.run import Training
    from eetui.trackers.contract import Trackers

LOOK_SECONDS = 0.1
"""Interval at which signals are looked at."""
IDLE_LOOK_SECONDS = 1.0
"""Interval at which a worker with nothing to do looks into the queue."""


def work_here(
    database: Path,
    sweep: int | None,
    stop: Stop,
    *,
    once: bool = False,
    idle: float = 0.0,
    slots: int = 1,
    training: "Training | None" = None,
    mirrors: "Trackers" = (),
) -> Mapping[int, Status]:
    """Train what is in a queue in this process; return the status of each run.

    Args:
        sweep: the sweep whose queue it is; None: that of all workers.
        once: whether to train one run only.
        idle: seconds to wait for more once the queue is empty.
        slots: how many runs are trained at once, by a `training` elsewhere.
        training: what trains a run; None: this process.
        mirrors: as in `train_headless`.
    """
    from core.store.writer import Writer
    from core.sweeps.work import Worker

    headless = Headless({}, HarmlessConsole(sys.stderr), database)
    with Writer(database) as store, headless.publishing(stop, mirrors) as publish:
        worker = Worker(store, sweep, publish, headless.begin, stop, training)
        if sweep is not None and _searches(store.path, sweep):
            from core.sweeps.search import Search

            search = Search(store, sweep)
            worker.publish, worker.given_up = search.watching(publish), search.pruned
            worker.more, worker.after = search.more, search.after
        while True:
            before = len(worker.statuses)
            worker.work(slots, once=once)
            if (once and len(worker.statuses) > before) or not _waits(store.path, sweep, idle, stop):
                return worker.statuses


def work_on(database: Path, run: int, stop: Stop, mirrors: "Trackers" = ()) -> Status | None:
    """Train one run of the queue in this process; None if it has come to its end already."""
    from core.store.queue import take_run
    from core.store.writer import Writer
    from core.sweeps.work import Worker

    headless = Headless({}, HarmlessConsole(sys.stderr), database)
    with Writer(database) as store:
        if not take_run(store, run):
            return None
        with headless.publishing(stop, mirrors) as publish:
            return Worker(store, None, publish, headless.begin, stop).train(run)


def wait_for_others(database: Path, sweep: int, stop: Stop) -> bool:
    """Wait while other processes train runs of a sweep; whether one of them left a run that waits again."""
    from core.store.queue import waiting
    from core.store.reader import Reader
    from core.store.stored_sweeps import held

    seen, said = set[int](), set[int]()
    with stop.listening(), Reader(database) as reader:
        while not stop():
            runs = held(reader, sweep)
            if seen & set(waiting(reader, sweep)):
                return True
            if not runs:
                return False
            for run in runs:
                if run["id"] not in said:
                    by = f"process {run['pid']} on {run['host']}"
                    print(f"waits for {run['name']} (run {run['id']}), which {by} trains", file=sys.stderr)
            said.update(run["id"] for run in runs)
            seen = {run["id"] for run in runs}
            for _ in range(round(IDLE_LOOK_SECONDS / LOOK_SECONDS)):
                if stop():
                    break
                time.sleep(LOOK_SECONDS)
    return False


def _searches(database: Path, sweep: int) -> bool:
    from core.store.reader import Reader
    from core.store.stored_sweeps import find_sweep

    with Reader(database) as reader:
        return find_sweep(reader, str(sweep)).spec["search"] is not None


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
