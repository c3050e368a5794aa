"""A full disk, or a database that somebody locks: the run waits, loses nothing, and can be stopped meanwhile."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.errors import DamagedError, UnwritableError
from core.events import Epoch, Event, RunFailed, RunInterrupted, Step, Warned
from core.protocol import checkpoint, patience
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store import opening
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from tests.faults.disks import Disk

REFUSED_TIMES = 6


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(checkpoint, "WRITE_SECONDS", 0.0)


@pytest.fixture
def disk(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(writer, monkeypatch)


def test_a_run_waits_for_room_and_nothing_of_it_is_lost(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared], disk: Disk
) -> None:
    published: list[Event] = []
    held_up: list[str | None] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        published.extend(events)
        if any(isinstance(event, Warned) for event in events):
            held_up.append(writer.held_up)
        if sum(isinstance(event, Epoch) for event in published) == 1 and disk.refused == 0:
            disk.fill()

    def should_stop() -> bool:
        if disk.refused >= REFUSED_TIMES:
            disk.empty()
        return False

    assert run_experiment(queue("loss"), writer, publish, should_stop) == ["finished"]
    assert disk.refused >= REFUSED_TIMES
    said = [event.message for event in published if isinstance(event, Warned)]
    assert said[0].startswith("paused, and goes on by itself once it can: ")
    assert said[1].startswith("was paused for 0 s: ")
    assert held_up[0]
    assert held_up[1] is None
    assert writer.held_up is None
    stored = reader.events(1)[0]
    assert [event for event in stored if isinstance(event, Step)] == [
        event for event in published if isinstance(event, Step)
    ]
    assert sum("was paused" in warning for warning in reader.state(1).warnings) >= 1
    assert not any("can't be written" in warning for warning in reader.state(1).warnings)
    assert checkpoint.checkpoint_folder(writer.path, 1).is_dir()


def test_a_run_that_waits_can_be_stopped_and_is_seen_as_interrupted(
    writer: Writer, path: Path, queue: Callable[..., Prepared], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        published.extend(events)
        if run == 1 and any(isinstance(event, Epoch) for event in events):
            disk.fill()

    statuses = run_experiment(queue("loss", "softmax"), writer, publish, lambda: disk.refused >= REFUSED_TIMES)
    assert statuses == ["interrupted", "interrupted"]
    ends = [event for event in published if isinstance(event, RunInterrupted)]
    assert "stopped by the user" in ends[0].reason
    assert "make room" in ends[0].reason
    disk.empty()
    writer.close()
    monkeypatch.setattr("core.store.liveness._started", lambda pid: "0")  # the process is gone
    with Reader(path) as reader:
        assert [row["status"] for row in reader.runs()] == ["interrupted"] * 2
        assert reader.runs()[0]["error"]


def test_a_lock_that_somebody_holds_for_longer_than_is_waited_loses_nothing(
    writer: Writer, reader: Reader, path: Path, queue: Callable[..., Prepared]
) -> None:
    published: list[Event] = []
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    let_go: list[threading.Timer] = []
    writer._connection.execute("PRAGMA busy_timeout = 20")

    def publish(run: int, events: Sequence[Event]) -> None:
        published.extend(events)
        if not let_go and any(isinstance(event, Epoch) for event in events):
            other.execute("BEGIN IMMEDIATE")
            let_go.append(threading.Timer(0.3, lambda: other.execute("ROLLBACK")))
            let_go[0].start()

    assert run_experiment(queue("loss"), writer, publish) == ["finished"]
    other.close()
    said = [event.message for event in published if isinstance(event, Warned)]
    assert any(f"locked by another program for over {opening.BUSY_SECONDS} s" in message for message in said)
    stored = reader.events(1)[0]
    assert [e for e in stored if isinstance(e, Step | Epoch)] == [e for e in published if isinstance(e, Step | Epoch)]


def test_a_database_that_is_damaged_in_mid_run_fails_the_run_and_is_no_traceback(
    writer: Writer, queue: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Event] = []
    real = Writer.append

    def append(*arguments: object) -> None:
        if sum(isinstance(event, Epoch) for event in published) >= 1:
            raise DamagedError("it is damaged")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "append", append)
    statuses = run_experiment(queue("loss"), writer, lambda run, events: published.extend(events))
    assert statuses == ["failed"]
    (end,) = [event for event in published if isinstance(event, RunFailed)]
    assert (end.message, end.traceback) == ("it is damaged", "")


def test_a_database_that_is_full_from_the_start_is_no_bad_request(writer: Writer, disk: Disk) -> None:
    disk.fill()
    with pytest.raises(UnwritableError, match="is full: make room") as error:
        writer.create_experiment([NewRun(str(number), "loss", 1, None, " " * 30_000, {}) for number in range(10)])
    assert error.value.exit_code == 1
