"""Where a run's weights are: beside the database's file itself, whichever way it was named."""

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.store.files import checkpoint_folder, delete_checkpoint
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.schema import migrations
from core.store.writer import Writer

NEW = NewRun(None, "loss", 1, None, "{}", {})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database in a folder of its own."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "runs.db"
    with Writer(path) as writer:
        writer.create_experiment([NEW])
    return path


@pytest.fixture(params=["beside it", "elsewhere", "a chain", "of its folder"])
def named(request: pytest.FixtureRequest, database: Path, tmp_path: Path) -> Path:
    """The same database by way of a symlink."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    match request.param:
        case "beside it":
            first = database.with_name("first.db")
            first.symlink_to(database.name)
        case "elsewhere":
            first.symlink_to(database)
        case "a chain":
            second.symlink_to("data/runs.db")
            first.symlink_to(second.name)
        case _:
            (tmp_path / "linked").symlink_to("data")
            return tmp_path / "linked" / database.name
    return first


def test_a_symlink_names_the_same_weights(database: Path, named: Path) -> None:
    assert checkpoint_folder(named, 3) == checkpoint_folder(database, 3)
    assert checkpoint_folder(database, 3) == database.with_name("runs.db.checkpoints") / "3"


def test_a_database_that_is_yet_to_be_made_by_way_of_a_symlink_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("real.db")
    with Writer(tmp_path / "link.db") as writer:
        writer.create_experiment([NEW])
    assert (tmp_path / "real.db").is_file()
    assert checkpoint_folder(tmp_path / "link.db", 1).parent.name == "real.db.checkpoints"
    with Reader(tmp_path / "real.db") as reader:
        assert reader.count() == 1


@pytest.mark.parametrize("name", ["first.db", "second.db"])
def test_weights_that_were_kept_beside_a_symlink_are_found_by_that_name(
    name: str, database: Path, tmp_path: Path
) -> None:
    (tmp_path / "second.db").symlink_to(database)
    (tmp_path / "first.db").symlink_to("second.db")
    old = tmp_path / f"{name}.checkpoints" / "1"
    old.mkdir(parents=True)
    assert checkpoint_folder(tmp_path / "first.db", 1) == old


def test_weights_that_were_kept_beside_a_symlink_in_the_same_folder_are_found_by_the_real_name(database: Path) -> None:
    database.with_name("link.db").symlink_to(database.name)
    old = database.with_name("link.db.checkpoints") / "1"
    old.mkdir(parents=True)
    assert checkpoint_folder(database, 1) == old
    assert checkpoint_folder(database, 2).parent.name == "runs.db.checkpoints"
    delete_checkpoint(database, 1)
    assert not old.parent.exists()


def test_weights_beside_the_file_itself_come_first(database: Path) -> None:
    database.with_name("link.db").symlink_to(database.name)
    own = database.with_name("runs.db.checkpoints") / "1"
    for folder in (own, database.with_name("link.db.checkpoints") / "1"):
        folder.mkdir(parents=True)
    assert checkpoint_folder(database.with_name("link.db"), 1) == own


def test_a_symlink_that_leads_to_itself_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "loop.db").symlink_to("loop.db")
    assert checkpoint_folder(tmp_path / "loop.db", 1).name == "1"


def test_the_copy_of_an_older_database_is_beside_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link.db").symlink_to("data/runs.db")
    connection = sqlite3.connect(tmp_path / "data" / "runs.db")
    migrations().apply(Database(connection), stop_before="results")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    Reader(tmp_path / "link.db").__exit__()
    assert [path.relative_to(tmp_path) for path in tmp_path.glob("**/*backup*")] == [Path("data/runs.db.backup-2")]


def test_the_folder_of_a_run_lies_beside_its_database() -> None:
    assert checkpoint_folder(Path("/data/runs.db"), 7) == Path("/data/runs.db.checkpoints/7")
