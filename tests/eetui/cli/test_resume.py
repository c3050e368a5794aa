"""`eetui resume`: a run that Ctrl-C or a crash ended continues where it stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, Eetui, set_options

SLOW = ("max_epochs=40", "patience=40", "exit_epochs=2", "machine.threads=1")


@pytest.fixture
def start(text: Path, environment: dict[str, str], tmp_path: Path) -> subprocess.Popen[str]:
    """Start training two methods, and return the process in its second epoch or later."""
    process = subprocess.Popen(
        [sys.executable, "-m", "eetui", "run", "--no-ui", "-m", "loss", "-m", "softmax", "--corpus", str(text)]
        + set_options(*TINY, *SLOW),
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3]), "EETUI_DB": str(tmp_path / "runs.db")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 2/" in line:
            break
    return process


def rows(eetui: Eetui, db: Path) -> list[dict]:
    return json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)


@pytest.mark.soak
def test_an_interrupted_experiment_prints_how_to_resume_and_ends_the_same(
    start: subprocess.Popen[str], eetui: Eetui, text: Path, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    start.send_signal(signal.SIGINT)
    _, errors = start.communicate(timeout=60)
    assert start.returncode == 130
    assert "to go on: eetui resume 1 2" in errors
    done = eetui("resume", "--no-ui", "loss-1", "2", EETUI_DB=str(db))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "loss-1  block0.lm  epoch 40/40" in done.stderr
    assert "side by side: eetui compare 1 2" in done.stderr
    eetui("run", "--no-ui", "-m", "loss", "--corpus", str(text), *set_options(*TINY, *SLOW), EETUI_DB=str(db))
    first, second, whole = rows(eetui, db)
    assert [row["status"] for row in (first, second, whole)] == ["finished"] * 3
    assert (first["final_ppl"], first["block0_val_ppl"]) == (whole["final_ppl"], whole["block0_val_ppl"])
    assert second["block0_val_ppl"] == whole["block0_val_ppl"]


@pytest.mark.soak
def test_a_killed_run_can_be_resumed(start: subprocess.Popen[str], eetui: Eetui, tmp_path: Path) -> None:
    os.kill(start.pid, signal.SIGKILL)
    start.communicate(timeout=60)
    done = eetui("resume", "--no-ui", "2", EETUI_DB=str(tmp_path / "runs.db"))
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(eetui, tmp_path / "runs.db")] == ["interrupted", "finished"]


def test_a_run_that_can_not_be_resumed_is_a_usage_error(
    trained: subprocess.CompletedProcess[str], eetui: Eetui, tmp_path: Path
) -> None:
    for arguments, reason in (
        (("1",), "is finished: only a run"),
        (("nothing",), "there is no run 'nothing'"),
        ((), ""),
    ):
        done = eetui("resume", "--no-ui", *arguments)
        assert done.returncode == 2
        assert reason in done.stderr
    done = eetui("resume", "1", EETUI_DB=str(tmp_path / "none.db"))
    assert done.returncode == 2
    assert "there is no database" in done.stderr
    assert not (tmp_path / "none.db").exists()
