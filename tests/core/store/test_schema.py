"""Opening a database: what it is upgraded from, and what is refused."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import StoreError
from core.store.reader import Reader
from core.store.schema import LATEST_VERSION, MIGRATIONS
from core.store.writer import Writer
from tests.core.store.recorded import execute, make_older, new, tables

ROOT = Path(__file__).parents[3]


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    Writer(path).__exit__()
    execute(path, f"PRAGMA user_version = {LATEST_VERSION + 1}")
    before = path.read_bytes()
    for opener in (Writer, Reader):
        with pytest.raises(StoreError, match="written by a newer eetui"):
            opener(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("user_version", [0, 3])
def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, user_version: int) -> None:
    execute(path, "CREATE TABLE songs (title)", f"PRAGMA user_version = {user_version}")
    before = path.read_bytes()
    for opener in (Writer, Reader):
        with pytest.raises(StoreError, match="of another program"):
            opener(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("these are notes of mine, not a database at all\n" * 100)
    before = path.read_bytes()
    for opener in (Writer, Reader):
        with pytest.raises(StoreError, match=r"runs\.db is not an eetui database"):
            opener(path)
    assert path.read_bytes() == before


def test_a_place_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be opened: check that its folder exists"):
        Writer(tmp_path / "file" / "runs.db")
    with pytest.raises(StoreError, match="is a folder"):
        Writer(tmp_path)


def test_the_latest_version_is_the_number_of_migrations(path: Path, writer: Writer) -> None:
    assert len(MIGRATIONS) == LATEST_VERSION
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (LATEST_VERSION,)
    connection.close()


@pytest.mark.parametrize("opener", [Writer, Reader])
def test_an_older_database_is_upgraded_and_a_copy_of_it_kept(path: Path, opener: type[Writer] | type[Reader]) -> None:
    make_older(path)
    opener(path).__exit__()
    with Reader(path) as reader:
        assert reader.find("old") == 1
        assert list(reader.window_losses(1, "early exit")) == []
        assert reader.token_statistics(1) == []
        assert reader.text("abc") is None
    assert tables(path) >= {"runs", "events", "results", "tags", "notes", "token_statistics", "texts"}
    (backup,) = path.parent.glob("runs.db.backup*")
    assert {"runs", "events"} <= tables(backup)
    assert "results" not in tables(backup)
    with Writer(path) as writer:
        assert writer.create_experiment([new("new", tags=("t",))]) == [2]


def test_a_current_database_is_not_copied(path: Path) -> None:
    Writer(path).__exit__()
    Writer(path).__exit__()
    assert list(path.parent.glob("*backup*")) == []


def test_processes_that_meet_at_a_fresh_database_all_get_their_runs(path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from core.store.new_runs import NewRun
from core.store.writer import Writer
go = Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for _ in range(3):
    with Writer(Path(sys.argv[1])) as writer:
        writer.create_experiment([NewRun(None, "loss", 1, None, "{}", {}), NewRun(None, "loss", 2, None, "{}", {})])
"""
    go = path.with_name("go")
    command = [sys.executable, "-c", script, str(path), str(go)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    with Reader(path) as reader:
        rows = reader.runs()
    assert sorted(row["experiment"] for row in rows) == [number for number in range(1, 7) for _ in range(2)]
    assert len({row["name"] for row in rows}) == 12
