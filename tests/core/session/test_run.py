"""Running an experiment: every run ends once, and none keeps the others from running."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from core.analysis.token_table import token_table
from core.config.run_config import RunConfig
from core.events import Event, RunFailed, RunFinished, RunInterrupted, RunStarted, StageStarted
from core.session import heartbeat
from core.session import run as session
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.analysis.tables import text_of
from tests.core.session.listeners import METHODS, ends, ignore
from tests.core.training import MakeConfig


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


def test_the_stored_statistics_decide_as_the_run_did(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    prepared = queue(*METHODS)
    run_experiment(prepared, writer, ignore)
    for run in prepared.runs:
        state = reader.state(run)
        stage, early, alone = state.stage("hard tokens", 0), state.final, state.measure("alone", 0)
        assert stage is not None
        assert stage.threshold is not None
        assert early is not None
        assert alone is not None
        table = token_table(reader.token_statistics(run), text_of(prepared.dataset.evaluation), 4)
        leaves = table.signal[0] >= stage.threshold.threshold
        assert 0 < leaves.sum() < table.tokens
        assert leaves.mean() == early.exit_shares[0]
        assert table.exits == 1
        assert table.mean_loss[0] == pytest.approx(alone.loss)
        assert table.correct[0].mean() == alone.accuracy


def test_runs_that_wait_for_their_turn_are_kept_alive(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.005)
    began = time.time()
    waiting: list[tuple[float | None, ...]] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        if run == 1:
            waiting.append(tuple(row["heartbeat"] for row in reader.runs()[1:]))

    run_experiment(queue(*METHODS), writer, publish)
    assert all(beat is not None and beat >= began for beats in waiting for beat in beats)
    assert waiting[0] < waiting[-1]
