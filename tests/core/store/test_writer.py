"""Writing: names, numbers, columns and transactions, and runs whose process is gone."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import StoreError
from core.events import RunInterrupted
from core.state import RunState
from core.store.files import checkpoint_folder
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, UNSTORABLE, block_tokens, execute, kept, new, store


def test_the_columns_of_a_run_follow_from_its_events(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    assert reader.runs()[0]["status"] == "queued"
    state = store(writer, run, EVENTS)
    assert state.final is not None
    (row,) = reader.runs()
    assert (row["status"], row["seconds"], row["error"]) == ("finished", 4.0, None)
    assert row["block0_val_ppl"] == pytest.approx(2.718281828**3.125)
    assert row["final_ppl"] == pytest.approx(2.718281828**2)
    assert (row["accuracy"], row["shallow_ratio"], row["layer_savings"]) == (0.25, 0.5, 0.25)
    assert row["created"] <= row["started"] <= row["ended"]


def test_runs_of_one_experiment_share_its_number_and_the_next_gets_another(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new(), new(method="distill")])
    writer.create_experiment([new()])
    assert [row["experiment"] for row in reader.runs()] == [1, 1, 2]
    assert [row["name"] for row in reader.runs()] == ["loss-1", "distill-2", "loss-3"]


def test_a_taken_name_is_refused_and_nothing_is_stored(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("mine")])
    with pytest.raises(StoreError, match="the name 'mine' is taken by run 1"):
        writer.create_experiment([new("other"), new("mine")])
    with pytest.raises(StoreError, match="is taken"):
        writer.create_experiment([new("twice"), new("twice")])
    assert [row["name"] for row in reader.runs()] == ["mine"]


def test_renaming_to_a_taken_name_is_refused(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("mine"), new("yours")])
    with pytest.raises(StoreError, match="is taken by run 2"):
        writer.rename(1, "yours")
    writer.rename(1, "ours")
    assert [row["name"] for row in reader.runs()] == ["ours", "yours"]


def test_a_made_up_name_gives_way_to_a_chosen_one(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("loss-2"), new()])
    assert [row["name"] for row in reader.runs()] == ["loss-2", "loss-2'"]


@pytest.mark.parametrize("name", ["'; DROP TABLE runs; --", 'x" OR "1"="1', "Robert'); --", "%", "名前 🙂"])
def test_names_that_look_like_sql_are_stored_verbatim(writer: Writer, reader: Reader, name: str) -> None:
    writer.create_experiment([new("plain"), new(name, tags=(name,))])
    writer.note(2, name)
    assert reader.find(name) == 2
    row = reader.run(2)
    assert (row["name"], row["tags"], row["notes"][0]["text"]) == (name, [name], name)


def test_deleting_a_run_deletes_all_that_belongs_to_it_and_nothing_else(
    writer: Writer, reader: Reader, path: Path
) -> None:
    for run in writer.create_experiment([new("gone", tags=("t",)), new("stays", tags=("t",))]):
        store(writer, run, [*EVENTS, block_tokens(0, 1.5)])
        writer.note(run, "note")
        checkpoint_folder(path, run).mkdir(parents=True)
    writer.delete(1)
    connection = sqlite3.connect(path)
    for table in ("events", "results", "tags", "notes", "token_statistics"):
        assert {row[0] for row in connection.execute(f"SELECT run_id FROM {table}")} == {2}
    connection.close()
    assert [row["name"] for row in reader.runs()] == ["stays"]
    assert [folder.name for folder in checkpoint_folder(path, 2).parent.iterdir()] == ["2"]


def test_the_number_of_a_deleted_run_is_not_given_again(writer: Writer) -> None:
    writer.create_experiment([new(), new()])
    writer.delete(2)
    assert writer.create_experiment([new()]) == [3]


def test_a_transaction_that_fails_leaves_nothing_behind(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    with pytest.raises(StoreError):
        writer.append(run, [EVENTS[0], UNSTORABLE], RunState("running"))
    assert reader.events(run)[0] == []
    assert reader.runs()[0]["status"] == "queued"
    store(writer, run, EVENTS)
    assert reader.events(run)[0] == kept(EVENTS)


def test_the_record_is_plain_json(path: Path, writer: Writer) -> None:
    writer.create_experiment([new()])
    connection = sqlite3.connect(path)
    assert json.loads(connection.execute("SELECT record FROM runs").fetchone()[0]) == {"host": "here"}
    connection.close()


def test_a_run_whose_process_is_gone_becomes_interrupted_when_the_next_writer_opens(path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    with Writer(path) as writer:
        writer.create_experiment([new("dead"), new("queued"), new("finished"), new("alive")])
        store(writer, 1, EVENTS[:5])
        store(writer, 3, EVENTS)
        store(writer, 4, EVENTS[:5])
    execute(path, f"UPDATE runs SET pid = {done.pid} WHERE id < 4")
    with Writer(path), Reader(path) as reader:
        assert [row["status"] for row in reader.runs()] == ["interrupted", "interrupted", "finished", "running"]
        assert reader.state(1).status == "interrupted"
        assert isinstance(reader.events(1)[0][-1], RunInterrupted)
        assert reader.runs()[0]["error"] == reader.state(1).error
        assert reader.events(3)[0] == kept(EVENTS)


def test_a_heartbeat_is_for_live_runs_of_this_process(path: Path, writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("mine"), new("running"), new("finished"), new("another's"), new("not asked")])
    store(writer, 2, EVENTS[:3])
    store(writer, 3, EVENTS)
    execute(path, "UPDATE runs SET heartbeat = 1", "UPDATE runs SET host = 'elsewhere' WHERE id = 4")
    began = time.time()
    writer.heartbeat([1, 2, 3, 4])
    beats = {row["name"]: row["heartbeat"] for row in reader.runs()}
    assert {name for name, beat in beats.items() if beat >= began} == {"mine", "running"}
    assert {beat for beat in beats.values() if beat < began} == {1}


def test_of_a_run_during_which_the_clock_steps_back_the_end_is_as_late_as_it_took(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader
) -> None:
    first, second = writer.create_experiment([new("finished"), new("interrupted")])
    store(writer, first, EVENTS[:1])
    store(writer, second, EVENTS[:1])
    now = time.time()
    monkeypatch.setattr("core.store.writer.time.time", lambda: now - 3600)
    writer.append(first, EVENTS[1:], RunState(status="finished", seconds=4.0))
    writer.end(second, RunInterrupted("stopped", 1.0))
    assert [row["ended"] - row["started"] for row in reader.runs()] == pytest.approx([4.0, 1.0])


def test_writing_imports_neither_sqlite_utils_nor_pandas(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from core.store.writer import Writer\n"
        "Writer(Path(sys.argv[1])).close(); assert not {'sqlite_utils', 'pandas'} & set(sys.modules)"
    )
    with Writer(tmp_path / "runs.db"):
        pass
    command = [sys.executable, "-c", code, str(tmp_path / "runs.db")]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == 0
