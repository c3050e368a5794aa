"""Preparation: checks, the record, the queue, and runs that can be resumed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.config.sections import DataConfig
from core.errors import StoreError, UsageError
from core.events import Event
from core.protocol import resolve
from core.protocol.resolve import OWN_THREADS
from core.session import prepare as preparation
from core.session import run as session
from core.session.plan import Plan
from core.session.prepare import prepare, prepare_resume
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.session.listeners import METHODS, ignore
from tests.core.training import MakeConfig


def stop_after(count: int) -> Callable[[], bool]:
    """Return a function that asks to stop after that many events."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= count


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


def test_a_name_that_is_taken_is_refused_before_anything_is_read(
    writer: Writer, corpus: str, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(corpus=corpus)
    prepare(Plan((config,), ("mine",)), writer)
    monkeypatch.setattr(preparation, "check", lambda *_: pytest.fail("nothing may be read"))
    with pytest.raises(StoreError, match="the name 'mine' is taken by run 1"):
        prepare(Plan((config, config), (None, "mine")), writer)


def test_preparing_keeps_the_evaluation_text(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=1) for method in METHODS)
    prepared = prepare(Plan(configs, (None,) * 3), writer)
    windows, vocabulary = prepared.dataset.evaluation, prepared.dataset.vocabulary
    text = reader.text(prepared.dataset.fingerprint)
    assert text is not None
    assert list(text.inputs) == windows.inputs.flatten().tolist()
    assert list(text.targets) == windows.targets.flatten().tolist()
    assert text.vocabulary == vocabulary.tokens(range(vocabulary.size))
    assert run_experiment(prepared, writer, ignore) == ["finished"] * 3
    for run in prepared.runs:
        blocks = reader.token_statistics(run)
        assert [block.block for block in blocks] == [0, 1]
        assert {len(memoryview(block.prediction).cast("i")) for block in blocks} == {len(text.inputs)}


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


def test_what_many_runs_of_a_sweep_have_in_common_is_looked_up_once(
    corpus: str, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def look_up(config: DataConfig, model: str) -> str:
        looked_up.append(config.corpus)
        return "word"

    monkeypatch.setattr(resolve, "resolve_tokenizer", look_up)
    resolve.resolve_all([tiny_config("loss", corpus=corpus, seed=seed) for seed in range(3)])
    assert looked_up == [corpus]
