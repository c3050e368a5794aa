"""The ready views: what they hold, in the file itself, for any SQLite, and in databases of earlier versions."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.events import Measured, Savings, Step, Threshold
from core.store.reader import Reader
from core.store.schema import LATEST_VERSION, MIGRATIONS, sweeps
from core.store.sql import SqlReader
from core.store.views import MEANINGS, VIEWS
from core.store.writer import Writer
from tests.core.store.recorded import execute
from tests.scripted_runs import add, append, scripted

PAGE = Path(__file__).parents[3] / "docs" / "schema.md"
EVENTS = list(scripted())


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Store a run that was started twice, and one that was deleted."""
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        run = add(writer, EVENTS[:9], name="again", tags=("a", "b"))
        saved = Savings("evaluation", 0.125, 0.25, 0.0625, 0.05, 0.07, 100, 5, True)
        append(writer, run, [*EVENTS[:-3], saved, *EVENTS[-3:]])
        deleted = add(writer, EVENTS, name="deleted")
    with Writer(path) as writer:
        writer.delete(deleted)
    return path


def rows(path: Path, view: str) -> list[dict[str, Any]]:
    """Read a view with nothing but sqlite3."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {view}")]


def test_views_hold_what_the_events_say(stored: Path) -> None:
    (run,) = rows(stored, "run_results")
    (early,) = (event for event in EVENTS if isinstance(event, Measured) and event.way == "early exit")
    assert (run["name"], run["method"], run["status"], run["tags"]) == ("again", "loss", "finished", "a b")
    assert (run["final_loss"], run["accuracy"]) == (early.loss, early.accuracy)
    assert run["oracle_loss"] < run["all_blocks_loss"] < run["block0_alone_loss"]
    steps = [event for event in EVENTS if isinstance(event, Step)]
    assert [(row["stage"], row["epoch"], row["step"], row["loss"]) for row in rows(stored, "steps")] == [
        (step.stage, step.epoch, step.step, step.loss) for step in steps
    ]
    epochs = [row for row in rows(stored, "epochs") if row["stage"] == "block0.lm"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    stages = {row["stage"]: row for row in rows(stored, "stages")}
    assert next(iter(stages)) == "block0.lm"
    assert stages["block0.lm"]["best_val_loss"] == min(row["val_loss"] for row in epochs)
    threshold = next(event for event in EVENTS if isinstance(event, Threshold))
    assert stages["block0.hard"]["threshold"] == threshold.threshold
    assert stages["block0.hard"]["hard_share"] == threshold.hard_tokens / threshold.tokens
    (saved,) = rows(stored, "savings")
    assert (saved["flops"], saved["break_even"], saved["time"]) == (0.125, 0.25, 0.0625)
    measured = [event for event in EVENTS if isinstance(event, Measured)]
    assert {(row["stage"], row["way"], row["loss"]) for row in rows(stored, "measurements")} == {
        (event.stage, event.name, event.loss) for event in measured
    }
    config = {row["key"]: row["value"] for row in rows(stored, "run_config")}
    assert (config["method"], config["train.patience"]) == ("loss", 3)
    assert config["model.block_layers"] == "[2,2]"


def test_an_entry_that_is_damaged_is_left_out(stored: Path) -> None:
    execute(stored, "UPDATE events SET data = substr(data, 1, 20) WHERE type = 'Epoch' AND seq = 20")
    assert [len(rows(stored, view)) for view in ("stages", "savings")] == [9, 1]
    assert 0 < len(rows(stored, "epochs"))


def test_a_database_of_the_version_before_has_its_tables_and_gets_the_views_when_written(stored: Path) -> None:
    before = MIGRATIONS.index(sweeps) + 1
    execute(
        stored,
        *(f"DROP VIEW {name}" for name in VIEWS),
        "DELETE FROM _sqlite_migrations WHERE name LIKE 'views%'",
        "INSERT INTO sweeps (name, spec, created) VALUES ('s', '{}', 0)",
        f"PRAGMA user_version = {before}",
    )
    with Reader(stored) as reader:
        assert [row["name"] for row in reader.select("SELECT name FROM sweeps")] == ["s"]
    with SqlReader(stored, 10.0) as asked:
        assert len(list(asked.ask("SELECT * FROM steps").rows)) > 0
    with closing(sqlite3.connect(stored)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (before,)
    Writer(stored).close()
    assert len(rows(stored, "run_results")) == 1


def test_views_need_nothing_that_an_old_sqlite_can_not_parse() -> None:
    """A view with other words than SQLite 3.9 has would keep an older one from opening the database at all."""
    for query in VIEWS.values():
        assert not re.search(r"->|\bOVER\b|\bFILTER\b|\bNULLS\b|\bIIF\b|\bexp\(|MATERIALIZED|\bRIGHT JOIN\b", query)


def test_views_need_nothing_that_duckdb_writes_anew_as_something_else() -> None:
    """DuckDB parses a view of an attached database and hands SQLite what it makes of it."""
    for query in VIEWS.values():
        assert not re.search(r"\bNOT IN\b|count\(\*\)|'array'", query)
        assert len(re.findall(r"\bJOIN\b", query)) == len(re.findall(r"\bON\b", query))


def test_views_of_version_11_are_made_anew_when_the_database_is_written(stored: Path) -> None:
    execute(
        stored,
        "DROP VIEW savings",
        "CREATE VIEW savings AS SELECT id FROM runs WHERE id NOT IN (SELECT run_id FROM bin)",
        "DELETE FROM _sqlite_migrations WHERE name = 'views_for_duckdb'",
        "PRAGMA user_version = 11",
    )
    Writer(stored).close()
    assert rows(stored, "savings")[0]["flops"] == 0.125


def test_the_page_documents_tables_and_views(stored: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"version {LATEST_VERSION}" in page
    with closing(sqlite3.connect(stored)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'")
        for (table,) in tables:
            assert f"| `{table}` |" in page
    for view, meaning in MEANINGS.items():
        columns = ", ".join(f"`{name}`" for name in rows(stored, view)[0])
        assert f"| `{view}` | {meaning} | {columns} |" in page
