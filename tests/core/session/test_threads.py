"""The number of threads that a run computed with is recorded, and used again when it is resumed."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from core.events import Epoch, Event, RunStarted, Warned
from core.machine import device
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def leg(prepared: Prepared, writer: Writer, *, whole: bool) -> list[Event]:
    """Run until the first epoch has ended, or to the end; its events."""
    seen: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        seen.extend(events)

    run_experiment(prepared, writer, publish, lambda: not whole and any(isinstance(event, Epoch) for event in seen))
    return seen


def started(events: Sequence[Event]) -> list[int | None]:
    return [event.threads for event in events if isinstance(event, RunStarted)]


def test_a_run_that_had_fewer_threads_than_planned_has_as_few_when_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    prepared = queue("loss", threads=3)
    with monkeypatch.context() as limited:
        limited.setattr(device, "possible", lambda threads: min(threads, 2))
        first = leg(prepared, writer, whole=False)
    assert started(first) == [2]
    assert any("2 threads instead of 3" in event.message for event in first if isinstance(event, Warned))
    assert reader.run(1)["record"]["threads"] == 2
    writer.requeue([1])
    second = leg(prepared, writer, whole=True)
    assert started(second) == [2]
    assert not any("threads instead of" in event.message for event in second if isinstance(event, Warned))


def test_where_as_many_can_not_be_had_again_the_difference_is_said(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    prepared = queue("loss", threads=3)
    assert started(leg(prepared, writer, whole=False)) == [3]
    writer.requeue([1])
    monkeypatch.setattr(device, "possible", lambda threads: 1)
    second = leg(prepared, writer, whole=True)
    said = [event.message for event in second if isinstance(event, Warned)]
    assert any("1 thread instead of 3" in message and "may differ" in message for message in said)
    assert reader.run(1)["record"]["threads"] == 1


@pytest.mark.parametrize("recorded", ['"many"', "0", "null", "-2"])
def test_nonsense_in_a_record_is_no_number_of_threads(
    recorded: str, writer: Writer, queue: Callable[..., Prepared]
) -> None:
    prepared = queue("loss")
    writer._connection.execute("UPDATE runs SET record = json_object('threads', json(?))", [recorded])
    assert started(leg(prepared, writer, whole=False)) == [1]
