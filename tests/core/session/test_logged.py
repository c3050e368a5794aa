"""Runs of somebody else's loop: stored as events, ended as the loop ends."""

import math
import subprocess
import sys
from pathlib import Path
from time import time_ns
from types import SimpleNamespace

import pytest

import eetui
from core.errors import ConfigError, UsageError
from core.events import Step
from core.session.logged import LoggedRun
from core.state import RunState
from core.store.reader import Reader
from eetui.compare.run_view import stored_view


def logged(db: Path, name: str = "ours") -> LoggedRun:
    return LoggedRun(name, {"lr": 0.1}, epochs=2, steps=3, db=db)


def state_of(db: Path, run: LoggedRun) -> RunState:
    with Reader(db) as reader:
        return reader.state(run.number)


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


def test_the_last_evaluation_counts_and_what_is_logged_after_it_is_stored(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with logged(db) as run:
        run.log(eval_loss=math.log(16), accuracy=0.1)
        run.log(step=1, loss=1.0)
        run.log(eval_loss=math.log(8), accuracy=0.25)
    with Reader(db) as reader:
        row = reader.run(run.number)
    assert (row["status"], row["final_ppl"], row["accuracy"]) == ("finished", pytest.approx(8), 0.25)
    assert len(state_of(db, run).measured) == 1


def test_what_a_loop_does_not_tell_is_not_known(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with logged(db) as run:
        run.log(epoch=1, val_loss=3.0)
        run.log(epoch=2, val_loss=math.nan)
        run.log(eval_loss=3.0, accuracy=0.5)
        run.log(eval_loss=2.0)
    state = state_of(db, run)
    assert [(epoch.loss, epoch.val_loss) for epoch in state.stages[0].history] == [(None, 3.0), (None, None)]
    assert state.warnings == ("the loss is nan at epoch 2",)
    with eetui.Database(db) as database:
        metrics = database[run.name].metrics
    assert metrics["final_ppl"] == pytest.approx(math.exp(2))
    assert not {"accuracy", "together.train_ppl"} & set(metrics)


def test_epochs_take_the_time_since_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("core.session.logged.time", SimpleNamespace(perf_counter=lambda: clock[0], time_ns=time_ns))
    with logged(tmp_path / "runs.db") as run:
        for epoch in (1, 2, 3):
            clock[0] += 10
            run.log(epoch=epoch, val_loss=1.0)
    epochs = state_of(tmp_path / "runs.db", run).stages[0].history
    assert [epoch.seconds for epoch in epochs] == [10, 10, 10]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"step": 0, "loss": 1.0}, "step must be 1 or above"),
        ({"step": 1, "epoch": 0}, "epoch must be 1 or above"),
        ({"step": 1, "loss": 1.0, "accuracy": 0.5}, "accuracy goes with eval_loss"),
        ({"eval_loss": 1.0, "accuracy": 45.0}, "accuracy must be a share"),
    ],
)
def test_numbers_of_another_kind_are_refused(told: dict[str, float], why: str, tmp_path: Path) -> None:
    with logged(tmp_path / "runs.db") as run, pytest.raises(UsageError, match=why):
        run.log(**told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tags": "paper"}, "tags must be a list"),
        ({"epochs": -1}, "epochs must be 0 or above"),
        ({"steps": -4}, "steps must be 0 or above"),
        ({"config": {"lr": 0.1, "model": object()}}, "model is of type object"),
    ],
)
def test_a_run_that_can_not_be_begun_says_why(given: dict[str, object], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        LoggedRun("ours", db=tmp_path / "runs.db", **given)  # type: ignore[arg-type]


def test_a_seed_that_no_database_holds_is_a_value_like_others(tmp_path: Path) -> None:
    with LoggedRun("ours", {"seed": 2**64 - 1}, db=tmp_path / "runs.db"):
        pass
    with eetui.Database(tmp_path / "runs.db") as database:
        run = database["ours"]
        assert (run.seed, run.config["logged.seed"]) == (0, 2**64 - 1)


def test_the_config_of_a_loop_is_that_of_its_run_and_hides_nothing(tmp_path: Path) -> None:
    own = {"lr": 0.1, "seed": 7, "optimizer": {"name": "adam"}, "model.block_layers": 12, "data.seq_len": "long"}
    with LoggedRun("ours", own, db=tmp_path / "runs.db"):
        pass
    with eetui.Database(tmp_path / "runs.db") as database:
        config = database["ours"].config
    assert {key: config[key] for key in ("lr", "seed", "optimizer.name", "logged.model.block_layers")} == {
        "lr": 0.1, "seed": 7, "optimizer.name": "adam", "logged.model.block_layers": 12,
    }  # fmt: skip
    assert (config["model.block_layers"], config["logged.data.seq_len"]) == ([1], "long")
    with Reader(tmp_path / "runs.db") as reader:
        assert stored_view(reader, 1).block_layers == (1,)


def test_an_error_that_is_no_text_ends_its_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"), logged(tmp_path / "runs.db") as run:
        raise ValueError("no file \udc80")
    with Reader(tmp_path / "runs.db") as reader:
        row = reader.run(run.number)
    assert (row["status"], row["error"]) == ("failed", r"ValueError: no file \udc80")


def test_a_run_that_nobody_ends_is_stored_to_its_last_word(tmp_path: Path) -> None:
    code = "import eetui\nrun = eetui.logging_run('ours', db='runs.db')\nrun.log(eval_loss=1.0, accuracy=0.5)\n"
    for name, ending in (("ours", ""), ("ours-2", "raise ValueError('no luck')")):
        subprocess.run([sys.executable, "-c", code + ending], cwd=tmp_path, stderr=subprocess.DEVNULL)
        with eetui.Database(tmp_path / "runs.db") as database:
            assert database[name].status == ("failed" if ending else "finished")
            assert database[name].metrics["accuracy"] == 0.5
