"""Recovery: what can be read of a damaged database is saved in a new one, and the damaged one is left as it is."""

import os
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from core.errors import DamagedError
from core.store.files import checkpoint_folder
from core.store.reader import Reader
from core.store.recovery import recover
from core.store.writer import Writer
from tests.core.store.recorded import execute
from tests.faults.training import soak
from tests.scripted_runs import add, keep_tokens, make_database, scripted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
        writer.note(2, "kept")
    checkpoint_folder(path, 1).mkdir(parents=True)
    (checkpoint_folder(path, 1) / "block0.lm.safetensors").write_bytes(b"weights")
    return path


def assert_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with Reader(path) as reader:
        for row in reader.runs():
            reader.run(row["id"])
            assert not any("damaged" in warning for warning in reader.state(row["id"]).warnings)


def test_of_a_sound_database_everything_is_saved(path: Path) -> None:
    before = path.read_bytes()
    found = recover(path)
    assert found.target == path.with_name("runs.repaired.db")
    assert (found.runs, found.dropped, found.unreadable) == (6, {}, [])
    assert path.read_bytes() == before
    assert_sound(found.target)
    with Reader(path) as old, Reader(found.target) as new:
        for run in range(1, 6):
            assert new.events(run) == old.events(run)
            assert new.token_statistics(run) == old.token_statistics(run)
            assert new.run(run)["notes"] == old.run(run)["notes"]
        assert new.runs()[:5] == old.runs()[:5]
    assert (checkpoint_folder(found.target, 1) / "block0.lm.safetensors").read_bytes() == b"weights"
    assert sorted(file.name for file in path.parent.iterdir() if file.name.startswith(".")) == []


def test_damaged_rows_are_left_out_and_counted(path: Path) -> None:
    execute(path, "UPDATE events SET data = '{' WHERE run_id = 1 AND seq IN (3, 5)")
    execute(path, "UPDATE runs SET config = 'nonsense' WHERE id = 2")
    found = recover(path)
    assert (found.runs, found.dropped["runs"]) == (5, 1)
    assert found.dropped["events"] == 2
    assert_sound(found.target)


def test_a_header_that_is_overwritten_is_replaced(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"\0" * 70)
    assert recover(path).runs == 6


@pytest.mark.parametrize(("size", "runs"), [(0.6, 20), (0.9, 40)][: soak(1)])
def test_of_a_truncated_database_the_rest_is_saved(size: float, runs: int, path: Path) -> None:
    with Writer(path) as writer:
        for number in range(50):
            add(writer, list(scripted(epochs=8)), name=f"more-{number}")
    os.truncate(path, int(path.stat().st_size * size))
    before = path.read_bytes()
    found = recover(path)
    assert found.runs > runs
    assert "runs" in found.unreadable
    assert_sound(found.target)
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", range(soak(6)))
def test_whatever_page_is_overwritten_the_copy_is_sound(seed: int, path: Path) -> None:
    draw = random.Random(seed)
    content = bytearray(path.read_bytes())
    place = draw.randrange(1, len(content) // 4096) * 4096
    content[place : place + 4096] = draw.randbytes(4096)
    path.write_bytes(content)
    with suppress(DamagedError):  # the table of runs itself
        assert_sound(recover(path).target)
    assert path.read_bytes() == content
    assert {file.name for file in path.parent.iterdir()} <= {
        "runs.db", "runs.db.checkpoints", "runs.repaired.db", "runs.repaired.db.checkpoints", "cache"
    }  # fmt: skip


def test_of_nothing_nothing_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(os.urandom(50_000))
    with pytest.raises(DamagedError, match="nothing can be read"):
        recover(path)
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db"]
