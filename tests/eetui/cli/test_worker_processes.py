"""Workers in processes: those that die before they take a run."""

import sys
from pathlib import Path

import pytest

from core.store.sweeps import create_sweep
from core.store.writer import Writer
from eetui.cli import worker_processes
from eetui.cli.headless import Stop


def test_a_worker_that_dies_before_it_takes_a_run_is_started_after_pauses_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer(tmp_path / "runs.db") as store:
        create_sweep(store, "rates", {}, [])
    deadly = tmp_path / "deadly"
    deadly.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/starts"\nkill -9 $$\n')
    deadly.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deadly))
    monkeypatch.setattr(worker_processes, "PAUSE_SECONDS", 0.001)
    worker_processes.work_in_processes(tmp_path / "runs.db", 1, 1, Stop(), ["mlflow:/m", "tensorboard:/t"])
    starts = (tmp_path / "starts").read_text().splitlines()
    assert len(starts) == worker_processes.MOST_STARTS
    assert all(start.endswith(" --mirror mlflow:/m --mirror tensorboard:/t") for start in starts)
    said = capsys.readouterr().err
    assert [said.count(f"another starts in {0.001 * 2**number:g} s") for number in range(5)] == [1, 1, 1, 1, 0]
    assert said.count("given up") == 1
    assert "1 of 1 workers given up: 5 processes in a row died before they took a run" in said
