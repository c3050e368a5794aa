"""Many writers and readers at once: all wait for each other, nobody fails, and everything is stored.

Eight writers and two readers, for a moment here and for a minute by `make soak`. And a million events.
"""

import os
import resource
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from core.events import Epoch, RunStarted, StageStarted, Step
from core.state import RunState, reduce_all
from core.store import thinning
from core.store.new_runs import NewRun
from core.store.opening import connect_to_read
from core.store.reader import Reader
from core.store.writer import Writer
from tests.faults.training import ROOT, soak
from tests.forked import Forked

WRITER = """
import sys, time
from pathlib import Path
from core.events import Step
from core.state import RunState
from core.store.new_runs import NewRun
from core.store.writer import Writer
until = time.monotonic() + float(sys.argv[2])
with Writer(Path(sys.argv[1])) as writer:
    (run,) = writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
    step = 0
    while step == 0 or time.monotonic() < until:
        writer.append(run, [Step("block0.lm", 1, step := step + 1, 4.0, 10, 0.1)], RunState(status="running"))
        writer.heartbeat([run])
print(run, step)
"""
PATIENT = """
import sys, time
from pathlib import Path
from core.events import Step
from core.protocol.patience import Patience
from core.state import RunState
from core.store.new_runs import NewRun
from core.store.writer import Writer
until = time.monotonic() + float(sys.argv[2])
patience = Patience(lambda: False, lambda warning: None)
with Writer(Path(sys.argv[1])) as writer:
    (run,) = writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
    step = 0
    while time.monotonic() < until:
        step += 1
        events = [Step("block0.lm", 1, step, 4.0, 10, 0.1)]
        patience.attempt(lambda: writer.append(run, events, RunState(status="running")))
        time.sleep(0.01)
print(run, step)
"""
READER = """
import sys, time
from pathlib import Path
from core.store.reader import Reader
until = time.monotonic() + float(sys.argv[2])
looks = 0
with Reader(Path(sys.argv[1])) as reader:
    while looks == 0 or time.monotonic() < until:
        for row in reader.runs():
            reader.events(row["id"], limit=50)
        reader.version()
        looks += 1
print(looks)
"""


def test_eight_writers_and_two_readers_lose_nothing_and_never_fail(tmp_path: Path) -> None:
    path, seconds = tmp_path / "runs.db", "60" if soak(0) else "0.5"
    Writer(path).close()
    with ExitStack() as stack:
        processes = [
            stack.enter_context(closing(Forked(["-c", code, str(path), seconds], os.environ, ROOT)))
            for code in [WRITER] * 8 + [READER] * 2
        ]
        said = [process.communicate(timeout=110) for process in processes]
        assert [process.returncode for process in processes] == [0] * 10, [errors for _, errors in said]
    steps = dict(map(int, out.split()) for out, _ in said[:8])
    assert len(steps) == 8
    with Reader(path) as reader:
        for run, last in steps.items():
            stored = [event.step for event in reader.events(run)[0] if isinstance(event, Step)]
            assert stored[-1] == last
            assert len(stored) == last or last > thinning.MOST_STEPS
    with closing(connect_to_read(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.timeout(1200)
def test_a_million_events_leave_memory_flat_and_the_database_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 epochs of 10,000 steps where it soaks; else of 200 steps, with a limit as much lower."""
    per_epoch, batch = (10_000, 500) if soak(0) else (200, 100)
    monkeypatch.setattr(thinning, "MOST_STEPS", 2 * per_epoch)
    path, sizes, memory = tmp_path / "runs.db", [], []
    with Writer(path) as writer:
        (run,) = writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {})])
        state = _append(writer, run, RunState(), [RunStarted((), 1, 1, 1, (1,), 1)])
        state = _append(writer, run, state, [StageStarted("block0.lm", "lm", 0, 100, per_epoch, 80)])
        for epoch in range(1, 101):
            for first in range(1, per_epoch + 1, batch):
                steps = [Step("block0.lm", epoch, first + number, 4.0 + number % 7, 10, 0.1) for number in range(batch)]
                state = _append(writer, run, state, steps)
            state = _append(writer, run, state, [Epoch("block0.lm", epoch, 4.5, 4.25, None, None, True, 3, 1.0)])
            sizes.append(writer._connection.execute("PRAGMA page_count").fetchone()[0])
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert max(sizes) <= 2 * max(sizes[:20])
    assert memory[-1] - memory[20] < 30_000  # KiB
    with Reader(path) as reader:
        events = reader.events(run)[0]
        assert sum(isinstance(event, Epoch) for event in events) == 100
        assert sum(isinstance(event, Step) for event in events) <= 2 * per_epoch + batch
        assert reader.state(run) is not None
        read = reduce_all(RunState(), events).stages[0]
        assert (read.step_tokens, read.epoch) == (100 * per_epoch * 10, 100)


def _append(writer: Writer, run: int, state: RunState, events: list) -> RunState:
    state = reduce_all(state, events)
    writer.append(run, events, state)
    return state


def test_a_write_lock_that_is_held_for_long_is_waited_for(tmp_path: Path) -> None:
    """80 seconds where it soaks, which is longer than SQLite waits; the outbox itself is tested beside its module."""
    path, seconds = tmp_path / "runs.db", 80 if soak(0) else 0.5
    Writer(path).close()
    with (
        closing(connect_to_read(path)) as other,
        closing(Forked(["-c", PATIENT, str(path), str(seconds + 2)], os.environ, ROOT)) as process,
    ):
        while other.execute("SELECT count(*) FROM events").fetchone()[0] == 0:
            time.sleep(0.01)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    run, last = map(int, out.split())
    with Reader(path) as reader:
        assert [event.step for event in reader.events(run)[0] if isinstance(event, Step)] == list(range(1, last + 1))
