"""Runs that start again: their log goes on, and their figures are measured anew."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import StoreError
from core.events import RunInterrupted
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, new, store


def test_a_run_that_starts_again_measures_again(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    started = reader.runs()[0]["started"]
    writer.requeue([run])
    (row,) = reader.runs()
    assert [row[name] for name in ("status", "error", "seconds", "started", "ended")] == ["queued", *[None] * 4]
    assert row["heartbeat"] >= started
    oracle = replace(EVENTS[10], window_losses=(3.0, 3.5))
    state = store(writer, run, [*EVENTS[:10], oracle, *EVENTS[11:]])
    assert reader.state(run).measured == state.measured
    assert list(reader.window_losses(run, "oracle")) == [3.0, 3.5]
    (row,) = reader.runs()
    assert (row["status"], row["error"], row["seconds"]) == ("finished", None, 4.0)
    assert started < row["started"] <= row["ended"]


def test_a_run_that_starts_again_has_not_yet_measured_what_it_had(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    writer.requeue([run])
    store(writer, run, EVENTS[:3])
    assert list(reader.window_losses(run, "early exit")) == []
    assert reader.runs()[0]["final_ppl"] is None


def test_only_what_ended_unfinished_is_queued_again_and_all_or_none(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new(), new()])
    store(writer, runs[0], [EVENTS[0], RunInterrupted("stopped", 1.0)])
    store(writer, runs[1], EVENTS)
    for others in ([runs[1]], [runs[2]], [99]):
        with pytest.raises(StoreError, match="can't be resumed"):
            writer.requeue([runs[0], *others])
    assert [row["status"] for row in reader.runs()] == ["interrupted", "finished", "queued"]


def test_a_log_that_another_process_wrote_on_is_gone_on_with(path: Path, writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    leg = [*EVENTS[:3], RunInterrupted("stopped", 1.0)]
    store(writer, run, leg)
    with Writer(path) as other:
        other.requeue([run])
        store(other, run, leg)
    writer.requeue([run])
    store(writer, run, leg)
    assert reader.events(run)[0] == leg * 3


def test_ending_a_run_that_waits_keeps_its_figures_and_ends_it_once(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    writer.requeue([run])
    for _ in range(2):
        writer.end(run, RunInterrupted("stopped before it began", 0.0))
    (row,) = reader.runs()
    assert (row["status"], row["error"], row["seconds"]) == ("interrupted", "stopped before it began", 0.0)
    assert row["final_ppl"] == pytest.approx(2.718281828**2)
    assert len([event for event in reader.events(run)[0] if isinstance(event, RunInterrupted)]) == 2
