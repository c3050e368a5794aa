"""The training thread: runs are trained in the order of one queue, and can be paused, stopped and taken out."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.store.reader import Reader
from eetui.console.training_thread import Trainer
from tests.eetui.trackers.recorder import Recorder
from tests.scripted_runs import tiny_plan


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "runs.db")


@pytest.fixture
def work(trainer: Trainer) -> Iterator[Callable[[], threading.Thread]]:
    """Return a function that starts the training thread, which is ended after the test."""
    threads: list[threading.Thread] = []

    def start() -> threading.Thread:
        assert trainer.claim()
        threads.append(threading.Thread(target=trainer.work))
        threads[-1].start()
        return threads[-1]

    yield start
    trainer.stop()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "waited for too long"
        time.sleep(0.005)


def statuses(trainer: Trainer) -> list[str]:
    with Reader(trainer.database) as reader:
        return [row["status"] for row in reader.runs()]


def test_an_experiment_is_trained_to_the_end_and_the_thread_rests(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text, "loss", "softmax"))

    work().join(60)

    assert statuses(trainer) == ["finished", "finished"]
    assert (trainer.snapshot.phase, trainer.snapshot.busy, trainer.snapshot.problem) == ("idle", False, None)


def test_without_anything_to_do_no_thread_is_wanted(trainer: Trainer, text: Path) -> None:
    assert not trainer.claim()
    trainer.submit(tiny_plan(text, "loss"))

    assert trainer.claim()
    assert not trainer.claim()


def test_a_paused_run_makes_no_step_until_it_goes_on(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text, "loss", max_epochs=2000, patience=2000))
    work()
    wait_for(lambda: trainer.snapshot.phase == "training")
    trainer.pause()
    time.sleep(0.3)  # for the step in progress and for events yet to be stored
    with Reader(trainer.database) as reader:
        before = len(reader.events(1)[0])
        time.sleep(0.3)
        assert len(reader.events(1)[0]) == before
        trainer.unpause()
        wait_for(lambda: len(reader.events(1)[0]) > before)


def test_cancelling_interrupts_the_run_and_the_next_one_begins(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text, "loss", max_epochs=2000, patience=2000))
    trainer.submit(tiny_plan(text, "softmax"))
    thread = work()
    wait_for(lambda: trainer.snapshot.run == 1)
    trainer.cancel(1)
    thread.join(60)

    assert statuses(trainer) == ["interrupted", "finished"]


def test_stopping_ends_a_paused_run_and_everything_that_waits(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text, "loss", "distill", max_epochs=2000, patience=2000))
    thread = work()
    wait_for(lambda: trainer.snapshot.run == 1)
    trainer.pause()
    trainer.stop()
    thread.join(30)

    assert statuses(trainer) == ["interrupted", "interrupted"]
    assert not trainer.claim()


def test_waiting_runs_can_be_reordered_taken_out_and_emptied(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text, "loss", "distill", "softmax", "correct", max_epochs=2000, patience=2000))
    work()
    wait_for(lambda: trainer.snapshot.queue == (2, 3, 4))
    trainer.move(4, -1)
    assert trainer.snapshot.queue == (2, 4, 3)
    trainer.move(2, 5)
    assert trainer.snapshot.queue == (4, 3, 2)
    trainer.cancel(3)
    assert trainer.snapshot.queue == (4, 2)
    trainer.clear()

    assert trainer.snapshot.queue == ()
    assert statuses(trainer)[1:] == ["interrupted"] * 3


def test_an_experiment_that_cannot_be_prepared_is_a_problem_and_the_next_one_runs(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(tiny_plan(text.with_name("missing.txt"), "loss"))
    trainer.submit(tiny_plan(text, "loss"))
    work().join(60)

    assert "missing.txt" in (trainer.snapshot.problem or "")
    assert statuses(trainer) == ["finished"]


def test_what_breaks_the_thread_is_a_problem_with_its_traceback(
    trainer: Trainer, work: Callable[[], threading.Thread]
) -> None:
    def broken(store: object) -> object:
        raise ZeroDivisionError("a bug")

    trainer.request(broken)  # type: ignore[arg-type]
    work().join(30)

    assert "ZeroDivisionError: a bug" in (trainer.snapshot.problem or "")
    assert trainer.snapshot.phase == "idle"


def test_an_experiment_that_asks_for_a_profile_gets_one_here_too(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    trainer.submit(replace(tiny_plan(text, "loss", "softmax"), profile=True))

    work().join(60)

    with Reader(trainer.database) as reader:
        for run in (1, 2):
            assert all(stage.profile is not None for stage in reader.state(run).stages)


def test_trackers_are_told_of_every_run_and_have_all_of_it_when_the_thread_rests(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    told = record(trainer)
    trainer.submit(tiny_plan(text, "loss", "softmax"))

    work().join(60)

    assert [(one.said[0][0], one.said[-1]) for one in told] == [("start", ("end", "finished"))] * 2
    assert trainer.snapshot.warning is None


def test_a_resumed_run_is_told_again_with_the_epochs_that_it_has_behind_it(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    told = record(trainer)
    trainer.submit(tiny_plan(text, "loss", max_epochs=40, patience=40))
    thread = work()
    wait_for(lambda: told and len(validated(told[0])) >= 2)
    trainer.cancel(1)
    thread.join(60)
    trainer.resume_runs([1])
    wait_for(lambda: not trainer.snapshot.busy or trainer.claim())
    trainer.work()

    interrupted, resumed = told
    assert interrupted.said[-1] == ("end", "interrupted")
    assert resumed.said[-1] == ("end", "finished")
    assert validated(resumed)[:2] == validated(interrupted)[:2]
    assert validated(resumed) == sorted(set(validated(resumed)))
    assert len(validated(resumed)) == 40


def test_a_tracker_that_fails_is_a_warning_and_the_run_finishes(
    trainer: Trainer, work: Callable[[], threading.Thread], text: Path
) -> None:
    record(trainer, fails_at="block0")
    trainer.submit(tiny_plan(text, "loss"))

    work().join(60)

    assert statuses(trainer) == ["finished"]
    assert "told takes no more" in (trainer.snapshot.warning or ("", ""))[1]


def validated(told: Recorder) -> list[int]:
    """Return the steps of block 0 at which its validation loss was told."""
    return [what[2] for what in told.said if what[:2] == ("metric", "block0.lm/val_loss")]


def record(trainer: Trainer, fails_at: str = "") -> list[Recorder]:
    """Let the trainer mirror its runs; return what is told of each, as it begins."""
    told: list[Recorder] = []

    def new() -> Recorder:
        told.append(Recorder(fails_at))
        return told[-1]

    trainer.trackers = [("told", new)]
    return told
