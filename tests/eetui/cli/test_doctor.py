"""doctor: what it says, its exit codes, and a repair that leaves the original alone."""

import json
from pathlib import Path

import pytest

from eetui.cli import doctor as module
from tests.conftest import Eetui
from tests.core.store.recorded import execute
from tests.scripted_runs import make_database


def test_a_sound_database_is_exit_code_0_and_everything_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = make_database(tmp_path / "runs.db")
    module.doctor(db=db)
    out = capsys.readouterr().out
    for subject in ("versions", "devices", "threads", "disk", "locale", "terminal", "database", "checkpoints"):
        assert f"\n{subject}" in f"\n{out}"
    assert "!" not in out
    module.doctor(as_json=True, db=db)
    assert {one["sound"] for one in json.loads(capsys.readouterr().out)} == {True}


def test_a_damaged_database_is_exit_code_1_and_is_repaired_in_a_copy(tmp_path: Path, eetui: Eetui) -> None:
    db = make_database(tmp_path / "runs.db")
    execute(db, "UPDATE events SET data = '{' WHERE run_id = 1 AND seq = 2")
    execute(db, "UPDATE runs SET config = '' WHERE id = 2")
    before = db.read_bytes()
    done = eetui("doctor", "--db", str(db))
    assert (done.returncode, done.stderr) == (1, "2 problems found\n")
    assert "! runs" in done.stdout
    done = eetui("doctor", "--repair", "--db", str(db))
    assert (done.returncode, done.stderr) == (0, "")
    repaired = tmp_path / "runs.repaired.db"
    assert f"what can be read of it is in {repaired}" in done.stdout
    assert "5 rows saved; 1 left out as damaged" in done.stdout
    assert db.read_bytes() == before
    assert eetui("doctor", "--db", str(repaired)).returncode == 0


def test_there_must_be_something_to_repair(tmp_path: Path, eetui: Eetui) -> None:
    done = eetui("doctor", "--repair", "--db", str(tmp_path / "missing.db"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no database" in done.stderr
