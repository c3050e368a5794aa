"""What drains the training: store first, publish second, and one end to every run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import session
from core.config import RunConfig
from core.data.windows import Dataset
from core.errors import StoreError, UsageError
from core.events import (
    Event,
    Measured,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageStarted,
    Step,
    TerminalEvent,
)
from core.session import Plan, Prepared, prepare, run_experiment
from core.store.reader import Reader
from core.store.writer import NewRun, Writer

MakeConfig = Callable[..., RunConfig]
METHODS = ("distill", "loss", "softmax")


@pytest.fixture
def queue(writer: Writer, tiny_config: MakeConfig, tiny_dataset: Dataset) -> Callable[..., Prepared]:
    """Queues one tiny run a method."""

    def queue(*methods: str, **values: Any) -> Prepared:
        configs = tuple(tiny_config(method, max_epochs=1, **values) for method in methods)
        new = [NewRun(None, config.method, 1, None, config.model_dump_json(), {}) for config in configs]
        return Prepared(configs, tuple(writer.create_experiment(new)), tiny_dataset)

    return queue


def ignore(run: int, events: Sequence[Event]) -> None:
    """Publish to nobody."""


def ends(reader: Reader, run: int) -> list[Event]:
    return [event for event in reader.events(run)[0] if isinstance(event, TerminalEvent)]


def test_what_is_published_is_in_the_store_already(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    published: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        published.extend(events)
        assert len(reader.events(run)[0]) == len(published)

    prepared = queue("loss")
    assert run_experiment(prepared, writer, publish) == ["finished"]
    assert isinstance(published[0], RunStarted)
    assert isinstance(published[-1], RunFinished)
    kept = [replace(event, window_losses=()) if isinstance(event, Measured) else event for event in published]
    assert reader.events(1)[0] == kept


def test_rare_events_are_published_at_once(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(session, "BATCH_SECONDS", 1e9)
    batches: list[Sequence[Event]] = []
    run_experiment(queue("loss"), writer, lambda run, events: batches.append(events))
    for batch in batches:
        assert not isinstance(batch[-1], Step)
        assert all(isinstance(event, Step) for event in batch[:-1])
    assert max(len(batch) for batch in batches) > 2


def test_every_run_ends_once_and_finished(writer: Writer, reader: Reader, queue: Callable[..., Prepared]) -> None:
    assert run_experiment(queue(*METHODS), writer, ignore) == ["finished"] * 3
    for run in (1, 2, 3):
        (end,) = ends(reader, run)
        assert isinstance(end, RunFinished)
        assert reader.events(run)[0][-1] == end
        assert reader.runs()[run - 1]["status"] == reader.state(run).status == "finished"


def test_siblings_share_block_0(writer: Writer, reader: Reader, queue: Callable[..., Prepared]) -> None:
    run_experiment(queue(*METHODS), writer, ignore)
    reused = [
        [event.reused for event in reader.events(run)[0] if isinstance(event, StageStarted)][:2] for run in (1, 2, 3)
    ]
    assert reused == [[False, False], [True, True], [True, True]]


def test_stopping_interrupts_the_run_and_those_still_queued(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    seen: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        seen.extend(events)

    def should_stop() -> bool:
        return any(isinstance(event, StageStarted) for event in seen)

    assert run_experiment(queue(*METHODS), writer, publish, should_stop) == ["interrupted"] * 3
    for run in (1, 2, 3):
        (end,) = ends(reader, run)
        assert isinstance(end, RunInterrupted)
        assert reader.events(run)[0][-1] == end
        assert reader.runs()[run - 1]["status"] == "interrupted"
    assert len(reader.events(1)[0]) == 3
    assert len(reader.events(2)[0]) == 1


def test_a_stop_that_comes_with_the_end_leaves_the_run_finished(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    seen: list[Event] = []
    prepared = queue("loss", "distill")
    statuses = run_experiment(
        prepared,
        writer,
        lambda run, events: seen.extend(events),
        lambda: any(isinstance(event, RunFinished) for event in seen),
    )
    assert statuses == ["finished", "interrupted"]
    assert len(ends(reader, 1)) == 1


def test_a_run_that_diverges_says_so_and_does_not_stop_the_others(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared], tiny_config: MakeConfig
) -> None:
    prepared = queue("distill", "loss")
    bad = Prepared((tiny_config("distill", lr=1e37), prepared.configs[1]), prepared.runs, prepared.dataset)
    assert run_experiment(bad, writer, ignore) == ["failed", "finished"]
    (end,) = ends(reader, 1)
    assert isinstance(end, RunFailed)
    assert "diverged" in end.message
    assert end.traceback == ""
    assert reader.runs()[0]["error"] == end.message


@pytest.mark.parametrize("events_before", [0, 1])
def test_a_bug_keeps_its_traceback_and_does_not_stop_the_others(
    events_before: int, monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    real = session.train

    def buggy_train(config: RunConfig, *rest: Any) -> Iterator[Event]:
        events = real(config, *rest)
        for _ in range(events_before):
            yield next(events)
        if config.method == "loss":
            raise RuntimeError("a bug")
        yield from events

    monkeypatch.setattr(session, "train", buggy_train)
    assert run_experiment(queue(*METHODS), writer, ignore) == ["finished", "failed", "finished"]
    (end,) = ends(reader, 2)
    assert isinstance(end, RunFailed)
    assert end.message == "RuntimeError: a bug"
    assert "Traceback" in end.traceback
    assert "buggy_train" in end.traceback
    assert reader.state(2).traceback == end.traceback


def test_a_keyboard_interrupt_is_stored_and_passed_on(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    def interrupted_train(*arguments: Any) -> Iterator[Event]:
        yield RunStarted((), 1, 1, 1, (1,), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", interrupted_train)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(queue("loss"), writer, ignore)
    (end,) = ends(reader, 1)
    assert isinstance(end, RunInterrupted)
    assert reader.runs()[0]["status"] == "interrupted"


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """A text of a thousand words, the same few over and over in a changing order."""
    file = tmp_path / "words.txt"
    file.write_text("\n".join(" ".join(f"w{line * word % 23}" for word in range(10)) for line in range(100)))
    return str(file)


def test_preparing_reads_the_corpus_and_queues_the_runs(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=1, device="auto", threads=0) for method in METHODS)
    prepared = prepare(Plan(configs, ("mine", None, None), preset="quick", tags=("t",)), writer)
    rows = reader.runs()
    assert [(row["name"], row["method"], row["status"]) for row in rows] == [
        ("mine", "distill", "queued"),
        ("loss-2", "loss", "queued"),
        ("softmax-3", "softmax", "queued"),
    ]
    assert {row["experiment"] for row in rows} == {1}
    stored = reader.run(1)
    assert stored["tags"] == ["t"]
    assert stored["config"]["machine"]["device"] != "auto"
    assert stored["config"]["machine"]["threads"] == 1
    assert RunConfig.model_validate_json(prepared.configs[0].model_dump_json()) == prepared.configs[0]
    assert stored["record"]["fingerprint"] == prepared.dataset.fingerprint
    assert stored["record"]["vocab_size"] == prepared.dataset.vocabulary.size
    assert run_experiment(prepared, writer, ignore) == ["finished"] * 3


def test_preparing_what_can_not_be_run_stores_nothing(
    writer: Writer, reader: Reader, corpus: str, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    missing = Plan((tiny_config(corpus=str(tmp_path / "none.txt")),), (None,))
    mixed = Plan((tiny_config(corpus=corpus), tiny_config(corpus=corpus, seq_len=5)), (None, None))
    for plan in (missing, mixed):
        with pytest.raises(UsageError):
            prepare(plan, writer)
    good = tiny_config(corpus=corpus)
    with pytest.raises(StoreError, match="is taken"):
        prepare(Plan((good, good), ("same", "same")), writer)
    assert reader.runs() == []
