"""Entries of a log that were damaged: left out with a warning, and everything that shows a run shows the rest."""

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import DamagedError
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.cli.compare import views_of
from eetui.compare.comparison import compare
from eetui.compare.tables_text import as_json
from eetui.live.following import Following
from eetui.summary.details_text import run_details, run_json
from tests.eetui.plain_text import plain_text
from tests.faults.training import soak
from tests.scripted_runs import keep_tokens, make_database

NOT_JSON = ("", "{", "null", "[]", "3", "{}", b"\xff\0")
WRONG = (None, "x", [], {}, -1, 1e999, [None])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_database(tmp_path_factory.mktemp("whole") / "runs.db")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    return path


def entries(path: Path) -> dict[str, tuple[int, str]]:
    """Place and data of the first entry of each type."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, seq, data FROM events WHERE run_id = 1 ORDER BY seq DESC").fetchall()
    return {kind: (seq, data) for kind, seq, data in rows}


def damaged(data: str) -> list[object]:
    """What may have become of an entry: what is no JSON, and a few of those where a field is missing or wrong."""
    fields = json.loads(data)
    others = [json.dumps({key: value for key, value in fields.items() if key != name}) for name in fields]
    others += [json.dumps({**fields, name: wrong}) for name in fields for wrong in WRONG]
    return [*NOT_JSON, *random.Random(7).sample(others, min(soak(8), len(others)))]


def show_everything(path: Path) -> str:
    """What `show`, `compare` and the Live screen write of runs 1 and 2."""
    with Reader(path) as reader:
        row, state = reader.run(1), reader.state(1)
        following = Following(reader, 1)
        while following.pull():
            pass
    result = compare(views_of(["1", "2"], path))
    lines = "\n".join(line.text for line in following.lines)
    return "\n".join([plain_text(run_details(row, state)), run_json(row, state), as_json(result), lines])


@pytest.mark.parametrize(
    "kind", ["RunStarted", "StageStarted", "Steps", "Epoch", "Threshold", "Measured", "RunFinished"]
)
def test_no_damage_of_an_entry_is_a_traceback(kind: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    seq, data = entries(whole)[kind]
    for number, broken in enumerate(damaged(data)):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE events SET data = ? WHERE run_id = 1 AND seq = ?", [broken, seq])
        shown = show_everything(path)
        if number < len(NOT_JSON):
            assert f"entry {seq} of the log of run 1 ({kind}) is damaged and left out" in shown


@pytest.mark.parametrize("column", ["config", "record"])
def test_a_damaged_config_or_record_is_one_error(column: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    for broken in ("", "{", "[]", b"\xff"):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"UPDATE runs SET {column} = ? WHERE id = 1", [broken])
        with Reader(path) as reader, pytest.raises(DamagedError, match=f"the {column} of run 1 can't be read"):
            reader.run(1)


def test_damaged_tokens_and_texts_are_one_error(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE token_statistics SET signal = x'00'")
        connection.execute("UPDATE texts SET stream = x'00'")
        connection.execute("UPDATE results SET window_losses = x'000102' WHERE run_id = 1")
    with Reader(path) as reader:
        with pytest.raises(DamagedError, match="the tokens of run 1 can't be read"):
            reader.token_statistics(1)
        with pytest.raises(DamagedError, match="the evaluation text can't be read"):
            reader.text("f" * 64)
        with pytest.raises(DamagedError, match="the window losses of run 1 can't be read"):
            reader.window_losses(1, "early exit")
