"""What drains the training: store first, publish second, and one end to every run."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.analysis.token_table import token_table
from core.config.run_config import RunConfig
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
    TokensMeasured,
)
from core.protocol.resolve import OWN_THREADS, resolve
from core.session import run as session
from core.session.prepare import Prepared, prepare, prepare_resume
from core.session.run import Plan, run_experiment
from core.state import RunState
from core.store.reader import Reader
from core.store.writer import NewRun, Writer
from tests.core.analysis.tables import text_of

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
        published.extend(event for event in events if not isinstance(event, TokensMeasured))
        assert len(reader.events(run)[0]) >= len(published)

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
    assert stored["config"]["machine"]["threads"] == OWN_THREADS
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


def test_preparing_keeps_the_evaluation_text(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=1) for method in METHODS)
    prepared = prepare(Plan(configs, (None,) * 3), writer)
    windows, vocabulary = prepared.dataset.evaluation, prepared.dataset.vocabulary
    text = reader.text(prepared.dataset.fingerprint)
    assert text is not None
    assert text.seq_len == windows.inputs.shape[1]
    assert list(text.inputs) == windows.inputs.flatten().tolist()
    assert list(text.targets) == windows.targets.flatten().tolist()
    assert text.vocabulary == vocabulary.tokens(range(vocabulary.size))
    assert run_experiment(prepared, writer, ignore) == ["finished"] * 3
    for run in prepared.runs:
        blocks = reader.token_statistics(run)
        assert [block.block for block in blocks] == [0, 1]
        assert {len(memoryview(block.prediction).cast("i")) for block in blocks} == {len(text.inputs)}


def test_the_stored_statistics_decide_as_the_run_did(
    writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    prepared = queue(*METHODS)
    run_experiment(prepared, writer, ignore)
    for run in prepared.runs:
        state = reader.state(run)
        stage, early, alone = state.stage("hard tokens", 0), state.final, state.measure("block 0 alone")
        assert stage is not None
        assert stage.threshold is not None
        assert early is not None
        assert alone is not None
        table = token_table(reader.token_statistics(run), text_of(prepared.dataset.evaluation))
        leaves = table.signal[0] >= stage.threshold.threshold
        assert 0 < leaves.sum() < table.tokens
        assert leaves.mean() == early.exit_shares[0]
        assert table.exits == 1
        assert table.mean_loss[0] == pytest.approx(alone.loss)
        assert table.correct[0].mean() == alone.accuracy


def stop_after(count: int) -> Callable[[], bool]:
    """Asks to stop after that many events."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= count


def test_resuming_goes_on_with_all_that_did_not_finish(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=2) for method in METHODS)
    whole = prepare(Plan(configs, (None,) * 3), writer)
    run_experiment(whole, writer, ignore)
    broken = prepare(Plan(configs, (None,) * 3), writer)
    assert run_experiment(broken, writer, ignore, stop_after(60)) == ["interrupted"] * 3
    resumed = prepare_resume([6, 4, 5, 4], writer)
    assert (resumed.runs, resumed.configs) == ((4, 5, 6), broken.configs)
    assert {row["status"] for row in reader.runs()[3:]} == {"queued"}
    assert run_experiment(resumed, writer, ignore) == ["finished"] * 3
    for before, after in zip(whole.runs, resumed.runs, strict=True):
        assert reader.state(after).measured == reader.state(before).measured
        assert reader.token_statistics(after) == reader.token_statistics(before)
        assert reader.window_losses(after, "early exit") == reader.window_losses(before, "early exit")


def test_a_run_that_failed_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    def failing_train(*arguments: Any) -> Iterator[Event]:
        yield from ()
        raise RuntimeError("the machine is on fire")

    with monkeypatch.context() as patched:
        patched.setattr(session, "train", failing_train)
        prepared = prepare(Plan((tiny_config(corpus=corpus, max_epochs=1),), (None,)), writer)
        assert run_experiment(prepared, writer, ignore) == ["failed"]
    assert run_experiment(prepare_resume([1], writer), writer, ignore) == ["finished"]
    assert reader.runs()[0]["error"] is None


def test_what_can_not_be_resumed_says_why_and_nothing_changes(
    writer: Writer, reader: Reader, corpus: str, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(Path(corpus).read_text())
    texts = [corpus, str(other)]
    for text in texts:
        prepared = prepare(Plan((tiny_config(corpus=text, max_epochs=1),), (None,)), writer)
        run_experiment(prepared, writer, ignore, lambda: True)
    run_experiment(prepare(Plan((tiny_config(corpus=corpus, max_epochs=1),), (None,)), writer), writer, ignore)
    prepare(Plan((tiny_config(corpus=corpus),), (None,)), writer)
    other.write_text(other.read_text().replace("w3", "w4"))
    for runs, reason in (
        ([1, 3], r"loss-3 \(run 3\) is finished: only a run that was interrupted or failed"),
        ([4], "is queued"),
        ([1, 2], "must share their data"),
        ([2], r"is no longer the text that loss-2 \(run 2\) was trained on"),
        ([9], "there is no run 9"),
        ([], "at least one run"),
    ):
        with pytest.raises(UsageError, match=reason):
            prepare_resume(runs, writer)
    assert [row["status"] for row in reader.runs()] == ["interrupted", "interrupted", "finished", "queued"]


def test_a_run_that_is_held_has_everything_stored(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    """Whatever is due gets stored though the caller who is asked may take hours to answer."""
    monkeypatch.setattr(session, "BATCH_SECONDS", 0.0)
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


class SlowWriter(Writer):
    """Takes until it is told to go on to store steps alone; or can't store them at all."""

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
def slow(writer: Writer, tmp_path: Path) -> Iterator[SlowWriter]:
    with SlowWriter(writer.path) as slow:
        yield slow


def test_steps_do_not_wait_for_the_store_and_all_arrive_in_order(
    monkeypatch: pytest.MonkeyPatch, slow: SlowWriter, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(session, "BATCH_SECONDS", 0.0)
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
    kept = [replace(event, window_losses=()) if isinstance(event, Measured) else event for event in published]
    assert reader.events(1)[0] == [event for event in kept if not isinstance(event, TokensMeasured)]


def test_steps_that_could_not_be_stored_are_stored_with_what_comes_next(
    monkeypatch: pytest.MonkeyPatch, slow: SlowWriter, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(session, "BATCH_SECONDS", 0.0)
    slow.broken = True
    steps: list[Event] = []
    run_experiment(queue("loss"), slow, lambda run, events: steps.extend(e for e in events if isinstance(e, Step)))
    assert slow.attempts > 0
    stored = [event for event in reader.events(1)[0] if isinstance(event, Step)]
    assert stored == steps
    lm = [step.step for step in stored if isinstance(step, Step) and step.stage == "block0.lm"]
    assert lm == list(range(1, len(lm) + 1))
    assert reader.runs()[0]["status"] == "finished"


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if holds():
            return True
        time.sleep(0.001)
    return False


def test_runs_that_wait_for_their_turn_are_kept_alive(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader, queue: Callable[..., Prepared]
) -> None:
    monkeypatch.setattr(session, "HEARTBEAT_SECONDS", 0.0)
    began = time.time()
    waiting: list[tuple[float | None, ...]] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        if run == 1:
            waiting.append(tuple(row["heartbeat"] for row in reader.runs()[1:]))

    run_experiment(queue(*METHODS), writer, publish)
    assert all(beat is not None and beat >= began for beats in waiting for beat in beats)
    assert waiting[0] < waiting[-1]


def test_auto_threads_are_torch_s_own_whatever_somebody_set(tiny_config: MakeConfig) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(OWN_THREADS + 1)
        assert resolve(tiny_config(threads=0)).machine.threads == OWN_THREADS
        assert resolve(tiny_config(threads=3)).machine.threads == 3
    finally:
        torch.set_num_threads(before)
