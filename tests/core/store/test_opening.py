"""Opening a database: what is refused is left alone, what is damaged is called so, what can't be written is read."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import DamagedError, StoreError
from core.store import opening
from core.store.identity import APPLICATION_ID
from core.store.opening import connect_to_read
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, execute, make_older, new, store

Opener = Callable[[Path], object]
OPENERS: list[Opener] = [Writer, Reader]


def application_id(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA application_id").fetchone()[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_database_of_ours_says_so_in_its_header(path: Path) -> None:
    Writer(path).close()
    assert path.read_bytes()[68:72] == b"eetu"
    assert application_id(path) == APPLICATION_ID


def test_one_of_an_earlier_version_is_known_by_its_tables_and_says_so_from_then_on(path: Path) -> None:
    with Writer(path) as writer:
        writer.create_experiment([new()])
    execute(path, "PRAGMA application_id = 0")
    with Reader(path) as reader:
        assert len(reader.runs()) == 1
    assert application_id(path) == 0
    Writer(path).close()
    assert application_id(path) == APPLICATION_ID


FOREIGN = {
    "their runs": ["CREATE TABLE runs (id INTEGER PRIMARY KEY, distance REAL)", "PRAGMA user_version = 2"],
    "their runs without version": ["CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT, status TEXT)"],
    "no runs": ["CREATE TABLE songs (title)", "PRAGMA user_version = 3"],
    "an id of theirs": [
        "PRAGMA application_id = 7",
        "CREATE TABLE runs (id, experiment, name, method, seed, status, config, record, created)",
        "PRAGMA user_version = 2",
    ],
    "a version only": ["PRAGMA user_version = 5", "CREATE VIEW runs AS SELECT 1"],
}


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("mode", ["DELETE", "WAL", "WAL with a log"])
@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_another_program_s_database_is_refused_and_not_touched(
    statements: list[str], mode: str, opener: Opener, tmp_path: Path, path: Path
) -> None:
    theirs = sqlite3.connect(path, isolation_level=None)
    theirs.execute(f"PRAGMA journal_mode = {mode.split()[0]}")
    for statement in statements:
        theirs.execute(statement)
    if mode == "WAL with a log":
        theirs.execute("PRAGMA wal_checkpoint")
        theirs.execute("CREATE TABLE more (x)")
    else:
        theirs.close()
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="of another program"):
        opener(path)
    assert contents(tmp_path) == before
    theirs.close()


def test_what_is_in_the_log_alone_tells_whose_it_is(path: Path) -> None:
    theirs = sqlite3.connect(path, isolation_level=None)
    theirs.execute("PRAGMA journal_mode = WAL")
    theirs.execute("CREATE TABLE songs (title)")
    with pytest.raises(StoreError, match="of another program"):
        Writer(path)
    theirs.close()


def test_an_empty_file_is_a_database_that_is_yet_to_be_made(path: Path) -> None:
    path.touch()
    with Writer(path) as writer:
        assert writer.create_experiment([new()]) == [1]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("size", "with_id"), [(200, True), (4096, True), (20_000, True), (-4096, False), (-4096, True)]
)
def test_a_truncated_database_of_ours_is_called_ours_and_damaged(
    size: int, with_id: bool, opener: Opener, path: Path
) -> None:
    with Writer(path) as writer:
        for run in writer.create_experiment([new(str(number)) for number in range(40)]):
            store(writer, run, EVENTS)
    if not with_id:
        execute(path, "PRAGMA application_id = 0")
    os.truncate(path, size if size > 0 else path.stat().st_size + size)
    with pytest.raises(DamagedError, match=r"runs\.db is an eetui database that is damaged .*eetui doctor --repair"):
        read_all(opener, path)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("damage", ["cut off", "emptied"])
def test_a_database_without_id_that_lost_its_table_of_runs_is_called_ours_and_damaged(
    damage: str, opener: Opener, path: Path
) -> None:
    make_older(path)
    with closing(sqlite3.connect(path)) as connection:
        for number in range(40):  # whose schema fills more than the first page
            connection.execute(f"CREATE INDEX of_a_name_that_is_long_{number:0100} ON runs (name, {number})")
        if damage == "emptied":
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("DELETE FROM sqlite_master WHERE tbl_name = 'runs'")
        connection.commit()
    if damage == "cut off":
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedError, match=r"runs\.db is an eetui database that is damaged .*eetui doctor --repair"):
        opener(path)


def test_an_sqlite_file_cut_off_before_anything_tells_whose_it_is_may_be_ours(path: Path) -> None:
    make_older(path)
    os.truncate(path, 1000)
    with pytest.raises(DamagedError, match="does not tell whose: if it is eetui's, eetui doctor --repair"):
        Reader(path)


@pytest.mark.parametrize("content", [b"S", b"x", b"notes of mine"])
def test_a_few_bytes_are_no_database_and_are_not_written_over(content: bytes, tmp_path: Path, path: Path) -> None:
    path.write_bytes(content)
    for opener in OPENERS:
        with pytest.raises(DamagedError, match="bytes are no database"):
            opener(path)
    assert contents(tmp_path) == {path.name: content}


@pytest.mark.parametrize("opener", OPENERS)
def test_devices_and_pipes_are_no_databases(opener: Opener, path: Path) -> None:
    os.mkfifo(path)
    for place in (path, Path(os.devnull)):
        with pytest.raises(StoreError, match="is a device or a pipe"):
            opener(place)


def read_all(opener: Opener, path: Path) -> None:
    """Open a database and read all that a list and the details of its runs do."""
    opened = opener(path)
    assert isinstance(opened, Writer | Reader)
    opened.close()
    with Reader(path) as reader:
        for row in reader.runs():
            reader.run(row["id"])
            reader.state(row["id"])


def test_a_header_that_is_overwritten_is_no_reason_to_call_it_somebody_else_s(path: Path) -> None:
    Writer(path).close()
    with open(path, "r+b") as file:
        file.write(b"\0" * 60)
    for opener in OPENERS:
        with pytest.raises(DamagedError, match="is an eetui database that is damaged"):
            opener(path)


def test_an_older_database_that_can_not_be_written_is_read_as_if_it_were_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_older(path)
    before = contents(path.parent)
    monkeypatch.setattr(opening, "_can_write", lambda file: False)
    with Reader(path) as reader:
        assert reader.find("old") == 1
        assert reader.token_statistics(1) == []
    assert contents(path.parent) == before


def test_what_is_in_the_log_is_read_where_nothing_can_be_written(
    path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.create_experiment([new("fresh")])
    monkeypatch.setattr(opening, "_can_write", lambda file: False)
    with closing(connect_to_read(path)) as connection:
        assert connection.execute("SELECT name FROM runs").fetchall() == [("fresh",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM runs")


@pytest.mark.parametrize("already", [False, True])
def test_on_a_network_file_system_there_is_no_write_ahead_log_and_that_is_said(
    already: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if already:
        Writer(path).close()
    monkeypatch.setattr(opening, "file_system", lambda file: "nfs4")
    with Writer(path) as writer:
        assert "is on nfs4, which is no place for a write-ahead log (journal mode delete instead)" in writer.remark
        (run,) = writer.create_experiment([new()])
        store(writer, run, EVENTS)
        assert writer.is_in_place()
    assert path.read_bytes()[18] == 1  # no write-ahead log
    with Reader(path) as reader:
        assert reader.runs()[0]["status"] == "finished"


def test_a_network_database_that_somebody_reads_keeps_its_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writer(path).close()
    monkeypatch.setattr(opening, "file_system", lambda file: "nfs4")
    monkeypatch.setattr(opening, "SWITCH_SECONDS", 0)
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0)
    with Reader(path) as reader:
        assert reader.runs() == []
        with Writer(path) as writer:
            assert writer.remark == ""
            assert writer.create_experiment([new()]) == [1]


def test_elsewhere_nothing_is_said(writer: Writer) -> None:
    assert writer.remark == ""


def test_opening_a_database_again_takes_no_lock_from_who_has_it_open_in_this_process(path: Path) -> None:
    """Else another process that reads it takes itself for the last, and removes the write-ahead log that is written."""
    with Writer(path) as writer:
        for opener in OPENERS:
            opened = opener(path)
            assert isinstance(opened, Writer | Reader)
            opened.close()
        (run,) = writer.create_experiment([new()])
        code = "import sys, sqlite3; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM runs'); c.close()"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert writer.is_in_place()
        store(writer, run, EVENTS)
    with Reader(path) as reader:
        assert reader.runs()[0]["status"] == "finished"


@pytest.mark.parametrize(("opener", "connect"), [(Writer, "connect_to_write"), (Reader, "connect_to_read")])
def test_what_fails_after_connecting_leaves_no_connection_open(
    opener: Opener, connect: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(path).close()
    module, opened = sys.modules[opener.__module__], list[sqlite3.Connection]()
    real = getattr(module, connect)
    monkeypatch.setattr(module, connect, lambda path: opened.append(real(path)) or opened[0])
    monkeypatch.setattr(opener, "close_abandoned" if opener is Writer else "_look_through_view", fail)
    with pytest.raises(MemoryError):
        opener(path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def fail(self: object) -> None:
    raise MemoryError
