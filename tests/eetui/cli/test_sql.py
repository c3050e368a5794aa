"""`eetui sql`: its formats, its limits, and what hostile text becomes."""

import csv
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Eetui
from tests.hostile import ALL, harmful, poison
from tests.scripted_runs import make_database

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Store the scripted runs, the first with hostile text."""
    path = make_database(tmp_path_factory.mktemp("sql") / "runs.db")
    poison(path)
    return str(path)


def test_each_format_holds_the_same_rows(db: str, eetui: Eetui) -> None:
    query = "select run_id, name, final_loss, error from run_results where run_id in (2, 4) order by run_id"
    found = json.loads(eetui("sql", query, "--json", "--db", db).stdout)
    assert [row["run_id"] for row in found] == [2, 4]
    assert found[0]["final_loss"] == pytest.approx(5.37)
    assert found[1]["final_loss"] is None
    rows = list(csv.DictReader(io.StringIO(eetui("sql", query, "--format", "csv", "--db", db).stdout)))
    assert [(row["name"], row["final_loss"]) for row in rows] == [
        (row["name"], "" if row["final_loss"] is None else repr(row["final_loss"])) for row in found
    ]
    assert "| 2 | distill-2 | 5.37 | – |" in eetui("sql", query, "--format", "md", "--db", db).stdout
    assert "distill-2" in eetui("sql", query, "--db", db).stdout
    assert eetui("sql", "select 1 where 0", "--json", "--db", db).stdout == "[]\n"


def test_a_table_has_its_limit_and_files_all_rows(db: str, eetui: Eetui) -> None:
    done = eetui("sql", "select step from steps", "--limit", "3", "--format", "md", "--db", db)
    assert done.stdout.count("\n") == 2 + 3
    assert "only the first 3 rows" in done.stderr
    assert eetui("sql", "select step from steps", "--limit", "3", "--format", "csv", "--db", db).stdout.count("\n") > 50


def test_hostile_text_is_harmless_in_tables_and_exact_in_json(db: str, eetui: Eetui) -> None:
    query = "select name, preset, tags from run_results where run_id = 1"
    for form in ("table", "md"):
        assert harmful(eetui("sql", query, "--format", form, "--db", db).stdout) == []
    assert json.loads(eetui("sql", query, "--format", "json", "--db", db).stdout)[0]["name"] == ALL


def test_without_a_statement_views_and_tables_are_listed(db: str, eetui: Eetui) -> None:
    listed = eetui("sql", "--format", "csv", "--db", db).stdout
    assert listed.splitlines()[1].startswith("epochs,one row an epoch")
    assert "\nruns,table," in listed
    empty = eetui("sql", "", "--format", "csv", "--db", db)
    assert (empty.returncode, empty.stdout, "no statement" in empty.stderr) == (2, "", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["drop table runs"], "only reads"), (["select 1", "--format", "xml"], "--format must be one of table, md, csv")],
)
def test_errors_are_one_line(words: list[str], message: str, db: str, eetui: Eetui) -> None:
    done = eetui("sql", *words, "--db", db)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_it_imports_nothing_that_takes_long(db: str) -> None:
    code = (
        "import sys; sys.argv = ['eetui', 'sql', 'select 1', '--db', sys.argv[1]]\n"
        "from eetui.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'textual', 'transformers', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, db], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_commands_of_the_page_run(db: str, eetui: Eetui) -> None:
    page = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("eetui sql")]
    assert len(commands) == 3
    for words in commands:
        assert eetui(*words, "--db", db).returncode == 0
