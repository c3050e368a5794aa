"""The outbox: events are stored first and published second, and training never waits for steps to be stored."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreError
from core.events import Event, Measured, RunFinished, RunStarted, Step, TokensMeasured
from core.session import outbox
from core.session import run as session
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.state import RunState
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.session.listeners import ignore


class SlowWriter(Writer):
    """A writer that blocks on a batch of steps until it is released, or fails to store it."""

    broken = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.attempts = 0

    def append(self, run: int, events: Sequence[Event], state: RunState) -> None:
        if all(isinstance(event, Step) for event in events):
            self.attempts += 1
            if self.broken:
                raise StoreError("the disk is full")
            assert self.go_on.wait(10)
        super().append(run, events, state)


@pytest.fixture
def slow(writer: Writer) -> Iterator[SlowWriter]:
    with SlowWriter(writer.path) as slow:
        yield slow


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if holds():
            return True
        time.sleep(0.001)
    return False


def test_what_is_published_is_in_the_store_already(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    published: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        published.extend(event for event in events if not isinstance(event, TokensMeasured))
        assert len(reader.events(run)[0]) >= len(published)

    prepared = queue("loss")
    assert run_experiment(prepared, writer, publish) == ["finished"]
    assert isinstance(published[0], RunStarted)
    assert isinstance(published[-1], RunFinished)
    kept = [event.without_windows() if isinstance(event, Measured) else event for event in published]
    assert reader.events(1)[0] == kept


def test_rare_events_are_published_at_once(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(outbox, "BATCH_SECONDS", 1e9)
    batches: list[Sequence[Event]] = []
    run_experiment(queue("loss"), writer, lambda run, events: batches.append(events))
    for batch in batches:
        assert not isinstance(batch[-1], Step)
        assert all(isinstance(event, Step) for event in batch[:-1])
    assert max(len(batch) for batch in batches) > 2


def test_a_run_that_is_held_has_everything_stored(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    """Due events are stored although `should_stop` may block for hours."""
    monkeypatch.setattr(outbox, "BATCH_SECONDS", 0.0)
    real, yielded, stored = session.train, [0], []

    def counted_train(*arguments: Any) -> Iterator[Event]:
        for event in real(*arguments):
            yielded[0] += not isinstance(event, TokensMeasured)
            yield event

    def should_stop() -> bool:
        stored.append(eventually(lambda: len(reader.events(1)[0]) == yielded[0]))
        return not stored[-1]

    monkeypatch.setattr(session, "train", counted_train)
    run_experiment(queue("loss"), writer, ignore, should_stop)
    assert len(stored) > 20
    assert all(stored)


def test_steps_do_not_wait_for_the_store_and_all_arrive_in_order(
    monkeypatch: pytest.MonkeyPatch, slow: SlowWriter, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(outbox, "BATCH_SECONDS", 0.0)
    published: list[Event] = []
    ahead = 0

    def should_stop() -> bool:
        nonlocal ahead
        ahead += slow.attempts == 1 and not slow.go_on.is_set()
        if ahead == 5:  # steps since the first was on its way to the disk
            slow.go_on.set()
        return False

    statuses = run_experiment(queue("loss"), slow, lambda run, events: published.extend(events), should_stop)
    assert statuses == ["finished"]
    assert ahead >= 5
    kept = [event.without_windows() if isinstance(event, Measured) else event for event in published]
    assert reader.events(1)[0] == [event for event in kept if not isinstance(event, TokensMeasured)]


def test_steps_that_could_not_be_stored_are_stored_with_what_comes_next(
    monkeypatch: pytest.MonkeyPatch, slow: SlowWriter, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(outbox, "BATCH_SECONDS", 0.0)
    slow.broken = True
    steps: list[Event] = []
    run_experiment(queue("loss"), slow, lambda run, events: steps.extend(e for e in events if isinstance(e, Step)))
    assert slow.attempts > 0
    stored = [event for event in reader.events(1)[0] if isinstance(event, Step)]
    assert stored == steps
    lm = [step.step for step in stored if isinstance(step, Step) and step.stage == "block0.lm"]
    assert lm == list(range(1, len(lm) + 1))
    assert reader.runs()[0]["status"] == "finished"


def test_where_no_thread_can_be_started_steps_are_stored_all_the_same(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    published: list[Event] = []
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "BATCH_SECONDS", 0.0)
        patched.setattr(threading.Thread, "start", refused)
        statuses = run_experiment(queue("loss"), writer, lambda run, events: published.extend(events))
    assert statuses == ["finished"]
    steps = [event for event in published if isinstance(event, Step)]
    assert len(steps) > 5
    assert [event for event in reader.events(1)[0] if isinstance(event, Step)] == steps
