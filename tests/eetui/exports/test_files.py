"""Exported tables: their figures, exact text in Parquet, no formulas in CSV, and the page that documents them."""

import csv
import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis.stored_run import evaluated_tokens, stored_run
from core.errors import UsageError
from core.events import RunFinished, RunStarted, Step
from core.store.reader import Reader
from core.store.tokens import EvaluationText
from core.store.writer import Writer
from eetui.exports import events as event_rows
from eetui.exports import tokens as token_rows
from eetui.exports.events import event_chunks
from eetui.exports.files import write_table, writer_of
from eetui.exports.schema import EVENTS, TOKENS, Table
from eetui.exports.tokens import token_chunks
from tests.hostile import ALL
from tests.scripted_runs import add, append, scripted
from tests.stored_tokens import store_run

PAGE = Path(__file__).parents[3] / "docs" / "schema.md"
HOSTILE = ["=1+1", "@x", 'a,b\n"c"', "\ud800"]


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    """Store a run of three blocks and one of two, the text of the second being hostile."""
    path = tmp_path / "runs.db"
    store_run(path, windows=6, blocks=3)
    store_run(path, windows=5)
    with Writer(path) as writer, Reader(path) as reader:
        text = reader.text("f5")
        assert text is not None
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM texts WHERE fingerprint = 'f5'")
        connection.close()
        writer.keep_text("f5", EvaluationText(HOSTILE, text.stream))
    return path


def test_tokens_in_parquet_are_those_of_the_run_with_exact_text(
    two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(token_rows, "ROWS", 100)
    file = tmp_path / "new" / "t.parquet"
    with Reader(two_runs) as reader:
        rows = write_table(file, TOKENS, token_chunks(reader, [1, 2]), {"eetui.runs": "[]"})
        table = evaluated_tokens(reader, stored_run(reader, 1))[0]
    read = parquet.ParquetFile(file)
    assert read.num_row_groups == 3 + 2
    facts = read.schema_arrow.metadata
    assert (facts[b"eetui.table"], facts[b"eetui.table_version"]) == (b"tokens", b"1")
    found = read.read().to_pydict()
    assert list(found) == [column.name for column in TOKENS.columns]
    assert rows == len(found["run"]) == 6 * 16 * 3 + 5 * 16 * 2
    first = {name: np.array(values[: 6 * 16 * 3]).reshape(-1, 3) for name, values in found.items()}
    np.testing.assert_array_equal(first["cross_entropy"].T, table.cross_entropy)
    np.testing.assert_array_equal(first["signal"][:, :2].T.astype(np.float32), table.signal)
    assert set(first["signal"][:, 2]) == {None}
    np.testing.assert_array_equal(first["left_at"][:, 1], table.left_at([0.5, 0.5]))
    np.testing.assert_array_equal(first["window"][:, 0] * 16 + first["position"][:, 0], np.arange(96))
    texts = set(found["text"][6 * 16 * 3 :])
    assert texts == {"=1+1", "@x", 'a,b\n"c"', "\\ud800"}


def test_tokens_in_csv_are_no_formulas_and_figures_the_shortest(two_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    with Reader(two_runs) as reader:
        write_table(file, TOKENS, token_chunks(reader, [2]), {})
        table = evaluated_tokens(reader, stored_run(reader, 2))[0]
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["text"] for row in rows} == {"'=1+1", "'@x", 'a,b\n"c"', "\\ud800"}
    losses = np.array([row["cross_entropy"] for row in rows[::2]], np.float32)
    np.testing.assert_array_equal(losses, table.cross_entropy[0])
    assert {row["signal"] for row in rows[1::2]} == {""}


def test_events_hold_every_step_and_say_what_a_new_start_voids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(event_rows, "ROWS", 10)
    path, file, events = tmp_path / "runs.db", tmp_path / "e.parquet", list(scripted())
    with Writer(path) as writer:
        run = add(writer, events[:8], name="r")
        append(writer, run, events)
    with Reader(path) as reader:
        rows = write_table(file, EVENTS, event_chunks(reader, [run]), {})
    found = parquet.read_table(file).to_pylist()
    assert rows == len(found) == 8 + len(events)
    assert [row["superseded"] for row in found] == [True] * 8 + [False] * len(events)
    assert [row["type"] for row in found[8:]] == [type(event).__name__ for event in events]
    steps = [event for event in events if isinstance(event, Step)]
    kept = [row for row in found[8:] if row["type"] == "Step"]
    assert [(row["stage"], row["epoch"], row["step"], row["loss"]) for row in kept] == [
        (step.stage, step.epoch, step.step, step.loss) for step in steps
    ]
    assert json.loads(found[8]["data"])["vocab_size"] == 4096
    assert str(found[0]["time"].tzinfo) == "UTC"


def test_a_hostile_name_is_harmless_in_csv_and_exact_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path, name = tmp_path / "runs.db", "=cmd|calc" + ALL
    with Writer(path) as writer:
        run = add(writer, [RunStarted((), 1, 1, 1, (1,), 1), RunFinished(1.0, 1)], name=name)
    with Reader(path) as reader:
        for suffix in ("csv", "parquet"):
            write_table(tmp_path / f"e.{suffix}", EVENTS, event_chunks(reader, [run]), {})
    assert set(parquet.read_table(tmp_path / "e.parquet")["run_name"].to_pylist()) == {name}
    with (tmp_path / "e.csv").open(encoding="utf-8", newline="") as text:
        assert {row["run_name"][0] for row in csv.DictReader(text)} == {"'"}


def test_what_can_not_be_written_is_one_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        writer_of(tmp_path / "t.xlsx")
    file = tmp_path / "t.csv"
    file.write_text("old")

    def failing() -> object:
        yield {column.name: [] for column in EVENTS.columns}
        raise UsageError("gone")

    with pytest.raises(UsageError, match="gone"):
        write_table(file, EVENTS, failing(), {})  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert file.read_text() == "old"
    with pytest.raises(UsageError, match="can't be written"):
        write_table(file / "t.csv", EVENTS, [], {})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "eetui.exports.parquet", raising=False)
    with pytest.raises(UsageError, match=r"eetui\[parquet\]"):
        writer_of(tmp_path / "t.parquet")


@pytest.mark.parametrize("table", [TOKENS, EVENTS], ids=lambda table: table.name)
def test_the_page_documents_every_column(table: Table) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{table.name}`, version {table.version}" in page
    for column in table.columns:
        assert f"| `{column.name}` | {column.kind} | {column.meaning} |" in page


def test_the_lines_of_the_page_for_pandas_run(two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    with Reader(two_runs) as reader:
        write_table(Path("t.parquet"), TOKENS, token_chunks(reader, [2]), {})
        early = stored_run(reader, 2)
        table = evaluated_tokens(reader, early)[0]
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[:1]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/schema.md", "exec"), names)
    left_at = table.left_at(early.thresholds)
    assert names["left"].cross_entropy.mean() == pytest.approx(table.cross_entropy[left_at, range(80)].mean())
