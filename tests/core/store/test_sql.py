"""SQL of the user's own: it reads, and nothing else, whatever it says."""

from pathlib import Path

import pytest

from core.errors import DamagedError, UsageError
from core.store.sql import SqlReader
from core.store.writer import Writer
from tests.scripted_runs import add, scripted


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        add(writer, list(scripted()), name="one")
    return path


def test_a_query_sees_views_tables_and_its_columns_by_different_names(stored: Path) -> None:
    with SqlReader(stored, 10.0) as reader:
        answer = reader.ask("SELECT name, 1 AS name, x'00ff' AS blob FROM run_results JOIN tags USING (run_id)")
        assert (answer.columns, list(answer.rows)) == (("name", "name_2", "blob"), [])
        assert [row[0] for row in reader.ask("SELECT name FROM runs").rows] == ["one"]
        assert list(reader.ask("SELECT count(*) FROM json_each('[1, 2]')").rows) == [(2,)]
        assert ("run_id",) in [row[1:2] for row in reader.ask("PRAGMA table_info(events)").rows]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "DELETE FROM runs",
        "UPDATE main.runs SET name = 'x'",
        "INSERT INTO notes (run_id, time, text) VALUES (1, 0, 'x')",
        "DROP TABLE notes",
        "CREATE TEMP TABLE t (x)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ATTACH ':memory:' AS other",
        "VACUUM INTO 'copy.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA user_version = 3",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = DELETE",
        "UPDATE sqlite_master SET sql = ''",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
        "WITH x AS (SELECT 1) DELETE FROM notes",
        "REINDEX",
    ],
)
def test_nothing_is_written_or_set(
    statement: str, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = stored.read_bytes()
    with SqlReader(stored, 10.0) as reader, pytest.raises(UsageError, match="eetui sql only reads"):
        list(reader.ask(statement).rows)
    assert stored.read_bytes() == before
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("selec 1", "syntax error"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("-- nothing", "no statement to run"),
        ("SELECT ?", "no values for"),
        ("SELECT * FROM nowhere", "no such table: nowhere: there are run_results"),
        ("SELECT nought FROM runs", "no such column: nought"),
        ("SELECT randomblob(1000000000)", "too big"),
        ("SELECT '\0'", "null character"),
        ("SELECT abs(-9223372036854775808)", "integer overflow"),
    ],
)
def test_what_is_wrong_with_a_statement_is_said(statement: str, message: str, stored: Path) -> None:
    with SqlReader(stored, 10.0) as reader, pytest.raises(UsageError, match=message):
        list(reader.ask(statement).rows)


def test_a_statement_without_end_is_ended(stored: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c"
    with SqlReader(stored, 0.05) as reader:
        with pytest.raises(UsageError, match=r"longer than 0\.05 s"):
            list(reader.ask(endless).rows)
        assert list(reader.ask("SELECT 1").rows) == [(1,)]


def test_ctrl_c_ends_a_statement(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed:
        def __gt__(self, other: float) -> bool:
            raise KeyboardInterrupt

    with SqlReader(stored, 10.0) as reader:
        monkeypatch.setattr("core.store.sql.time.monotonic", lambda: 0.0)
        answer = reader.ask("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c")
        monkeypatch.setattr("core.store.sql.time.monotonic", Pressed)
        with pytest.raises(KeyboardInterrupt):
            list(answer.rows)


def test_text_that_is_no_utf_8_is_read_and_damage_is_called_that(stored: Path) -> None:
    with SqlReader(stored, 10.0) as reader:
        assert list(reader.ask("SELECT CAST(x'61ff' AS TEXT)").rows) == [("a�",)]
    content = bytearray(stored.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    stored.write_bytes(content)
    with pytest.raises(DamagedError), SqlReader(stored, 10.0) as reader:
        list(reader.ask("SELECT sum(length(data)) FROM events").rows)
