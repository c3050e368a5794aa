"""Runs of somebody else's loop: stored as events, ended as the loop ends."""

import math
from pathlib import Path

import pytest

import eetui
from core.errors import ConfigError, UsageError
from core.events import Step
from core.session.logged import LoggedRun
from core.store.reader import Reader


def logged(db: Path, name: str = "ours") -> LoggedRun:
    return LoggedRun(name, {"lr": 0.1}, epochs=2, steps=3, db=db)


def test_steps_epochs_and_evaluation_are_stored(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with logged(db) as run:
        for epoch in (1, 2):
            for step in (1, 2, 3):
                run.log(step=step, epoch=epoch, loss=4.0 / epoch, tokens=10)
            run.log(epoch=epoch, val_loss=5.0 / epoch)
        run.log(eval_loss=math.log(8), accuracy=0.25)
    with Reader(db) as reader:
        state, row = reader.state(run.number), reader.run(run.number)
        steps = [event for event in reader.events(run.number, steps=True)[0] if isinstance(event, Step)]
    (stage,) = state.stages
    assert (state.status, row["name"], row["record"]["logged"]) == ("finished", "ours", {"lr": 0.1})
    assert [(epoch.loss, epoch.val_loss, epoch.improved) for epoch in stage.history] == [(4, 5, True), (2, 2.5, True)]
    assert [(step.epoch, step.step, step.loss) for step in steps[2:4]] == [(1, 3, 4.0), (2, 1, 2.0)]
    assert row["final_ppl"] == pytest.approx(8)


def test_a_loop_that_fails_fails_its_run_and_ctrl_c_interrupts_it(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with pytest.raises(ValueError, match="no luck"), logged(db) as failed:
        raise ValueError("no luck")
    with pytest.raises(KeyboardInterrupt), logged(db) as stopped:
        raise KeyboardInterrupt
    with Reader(db) as reader:
        states = [reader.state(run.number) for run in (failed, stopped)]
    assert [state.status for state in states] == ["failed", "interrupted"]
    assert states[0].error == "ValueError: no luck"
    assert "test_logged" in (states[0].traceback or "")
    assert (failed.name, stopped.name) == ("ours", "ours-2")


def test_a_loss_that_is_not_finite_is_a_warning_and_no_number(tmp_path: Path) -> None:
    with logged(tmp_path / "runs.db") as run:
        run.log(step=1, loss=math.nan)
        run.log(step=2, loss=math.inf)
    with Reader(tmp_path / "runs.db") as reader:
        events = reader.events(run.number, steps=True)[0]
        assert reader.state(run.number).warnings == ("the loss is nan at step 1",)
    assert [event.loss for event in events if isinstance(event, Step)] == [None, None]


def test_what_is_no_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must not be a number"):
        logged(tmp_path / "runs.db", "17")
    with pytest.raises(UsageError, match="plain values"):
        LoggedRun("ours", {"model": object()}, db=tmp_path / "runs.db")
    with logged(tmp_path / "runs.db") as run, pytest.raises(UsageError, match="log what"):
        run.log(loss=1.0)
    with pytest.raises(UsageError, match="has ended"):
        run.log(step=1, loss=1.0)


def test_log_tells_the_run_that_was_begun_last(tmp_path: Path) -> None:
    with eetui.logging_run("theirs", db=tmp_path / "runs.db") as run:
        eetui.log(step=1, loss=2.0)
    with Reader(tmp_path / "runs.db") as reader:
        assert [event.loss for event in reader.events(run.number)[0] if isinstance(event, Step)] == [2.0]
