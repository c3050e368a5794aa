"""The command for the end of a run: told what has ended, in the background; what goes wrong is a remark."""

import sys
import time
from pathlib import Path

import pytest

from eetui.app import EetuiApp
from eetui.cli.headless import train_headless
from eetui.console.on_end import tell_end
from eetui.console.training_thread import Trainer
from tests.scripted_runs import tiny_plan, tiny_request

SAYS = (
    "import os, sys, pathlib; here = pathlib.Path(sys.argv[1]); half = here.with_suffix('.half'); "
    "half.write_text(' '.join(os.environ['EETUI_' + name] for name in ('RUN', 'NAME', 'STATUS', 'DB'))); "
    "half.replace(here)"
)


def said(path: Path) -> str:
    for _ in range(1200):
        if path.exists():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError("the command was not started")


def command(path: Path) -> str:
    return f'{sys.executable} -c "{SAYS}" {path}'


def test_it_is_told_what_has_ended(tmp_path: Path) -> None:
    assert tell_end(None, tmp_path / "runs.db", 3, "ours", "finished") == ""
    assert tell_end(command(tmp_path / "said"), tmp_path / "runs.db", 3, "ours", "failed") == ""
    assert said(tmp_path / "said") == f"3 ours failed {tmp_path / 'runs.db'}"


def test_what_can_not_be_started_is_a_remark(tmp_path: Path) -> None:
    assert "No such file" in tell_end(str(tmp_path / "none"), tmp_path / "runs.db", 3, "ours", "finished")


def test_console_and_headless_runs_start_it(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETUI_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text(f"on_end = '''{command(tmp_path / 'headless')}'''")
    db = tmp_path / "runs.db"
    assert train_headless(tiny_request(text, "loss"), db) == 0
    assert said(tmp_path / "headless") == f"1 loss-1 finished {db}"
    trainer = Trainer(db, command(tmp_path / "console"))
    trainer.submit(tiny_plan(text, "loss"))
    assert trainer.claim()
    trainer.work()
    assert said(tmp_path / "console") == f"2 loss-2 finished {db}"


async def test_what_can_not_be_started_is_notified_under_its_own_title(tmp_path: Path) -> None:
    bench = EetuiApp(tmp_path / "runs.db")
    async with bench.run_test() as pilot:
        bench.trainer._set(warning=("on_end", "on_end can't be started"))
        bench.look_for_news()
        await pilot.pause()
        assert [(one.title, one.message) for one in bench._notifications] == [("on_end", "on_end can't be started")]


def test_a_console_remarks_what_can_not_be_started_and_has_no_problem(tmp_path: Path, text: Path) -> None:
    trainer = Trainer(tmp_path / "runs.db", str(tmp_path / "none"))
    trainer.submit(tiny_plan(text, "loss"))
    assert trainer.claim()
    trainer.work()
    assert trainer.snapshot.problem is None
    assert trainer.snapshot.warning == ("on_end", "on_end can't be started: No such file or directory")
