"""`eetui run`: training, refused requests, and runs that end early."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options
from tests.forked import Forked

Done = subprocess.CompletedProcess[str]


def test_three_methods_train_headless_are_stored_and_named(trained: Done, eetui: Eetui) -> None:
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout == ""
    rows = json.loads(eetui("ls", "--json").stdout)[:6]
    assert [row["name"] for row in rows] == [
        "distill-1", "loss-2", "softmax-3", "distill-4", "loss-5", "softmax-6",
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"finished"}
    assert all(row["tags"] == ["tiny"] and row["final_ppl"] > 1 for row in rows)


def test_off_a_terminal_progress_is_plain_lines_without_escapes(trained: Done) -> None:
    assert "\x1b" not in trained.stderr
    assert "distill-1  block0.lm  epoch 1/2  loss" in trained.stderr
    assert "loss-2  block0.lm  reused from a sibling run" in trained.stderr


def test_block_0_is_the_same_for_all_methods_of_a_seed(trained: Done, eetui: Eetui) -> None:
    rows = json.loads(eetui("ls", "--json").stdout)
    assert len({row["block0_val_ppl"] for row in rows[:3]}) == 1
    assert rows[0]["block0_val_ppl"] != rows[3]["block0_val_ppl"]


@pytest.mark.parametrize(("content", "message"), [(b"word", "windows"), (b"\xff\x00\xfe", "not UTF-8"), (b"", "empty")])
def test_a_bad_corpus_is_refused_before_anything_is_stored(
    content: bytes, message: str, eetui: Eetui, tmp_path: Path
) -> None:
    (tmp_path / "corpus.txt").write_bytes(content)
    done = eetui("run", "--no-ui", "--corpus", str(tmp_path / "corpus.txt"), EETUI_DB=str(tmp_path / "runs.db"))
    assert done.returncode == 2
    assert message in done.stderr
    assert json.loads(eetui("ls", "--json", EETUI_DB=str(tmp_path / "runs.db")).stdout) == []


def test_a_database_that_can_not_be_opened_is_one_clear_error(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder" / "runs.db", tmp_path):
        done = eetui("run", "--no-ui", "--corpus", str(text), EETUI_DB=str(path))
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_name_that_is_sql_or_markup_is_only_a_name(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    name, db = "x'); DROP TABLE runs; -- [red]", str(tmp_path / "runs.db")
    options = set_options(*TINY, *TINY_TRAINING)
    done = eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), "--name", name, *options, EETUI_DB=db)
    assert done.returncode == 0, done.stderr
    assert name in eetui("ls", EETUI_DB=db).stdout
    assert name in eetui("compare", name, "report:loss", EETUI_DB=db).stdout
    again = eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), "--name", name, *options, EETUI_DB=db)
    assert again.returncode == 2
    assert "is taken by run 1" in again.stderr


def test_a_method_that_diverges_does_not_stop_the_others(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    db = str(tmp_path / "runs.db")
    options = set_options(*TINY, *TINY_TRAINING, "lr=1e30")
    done = eetui("run", "--no-ui", "--corpus", str(text), *options, EETUI_DB=db)
    rows = json.loads(eetui("ls", "--json", EETUI_DB=db).stdout)
    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["failed"] * 3
    assert "lower train.lr" in rows[0]["error"]


def _start(text: Path, environment: dict[str, str], db: Path, *more: str) -> Forked:
    words = ["run", "--no-ui", "--corpus", str(text), *set_options(*TINY, "machine.threads=1"), *more]
    return Forked(["-m", "eetui", *words], environment | {"EETUI_DB": str(db)}, db.parent)


def _start_endless(text: Path, environment: dict[str, str], db: Path) -> Forked:
    """Start training that would not end by itself, and return the process after its first epoch."""
    process = _start(text, environment, db, *set_options("max_epochs=100000", "patience=100000"))
    while "epoch" not in process.outputs()[1]:
        assert process.poll() is None, process.outputs()
        time.sleep(0.05)
    return process


def test_ctrl_c_ends_after_the_step_marks_the_runs_and_exits_130(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    process = _start_endless(text, environment, db)
    during = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in during] == ["running", "queued", "queued"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    after = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in after] == ["interrupted"] * 3


@pytest.mark.soak
def test_a_killed_run_is_marked_interrupted_by_the_next_one(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    process = _start_endless(text, environment, db)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    options = set_options(*TINY, *TINY_TRAINING)
    eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), *options, EETUI_DB=str(db))
    rows = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in rows] == ["interrupted"] * 3 + ["finished"]


@pytest.mark.soak
def test_two_experiments_at_once_share_a_database(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    both = [_start(text, environment, db, *set_options("max_epochs=3", "exit_epochs=3")) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    rows = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert sorted({row["experiment"] for row in rows}) == [1, 2]
    assert len({row["block0_val_ppl"] for row in rows}) == 1, "same config, same corpus, same machine: same numbers"
