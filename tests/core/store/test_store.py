"""The database: what is written is read, by others too, and what can't be opened says why."""

import json
import sqlite3
import subprocess
import sys
import time
from array import array
from dataclasses import replace
from functools import reduce as fold
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.errors import RunLookupError, StoreError
from core.events import (
    Epoch,
    Event,
    Measured,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.state import RunState, reduce
from core.store.files import checkpoint_folder
from core.store.reader import Query, Reader
from core.store.schema import LATEST_VERSION, MIGRATIONS, migrations
from core.store.tokens import EvaluationText
from core.store.writer import NewRun, Writer

ROOT = Path(__file__).parents[3]
EVENTS: list[Event] = [
    RunStarted(("block0.lm", "block0.hard", "evaluation"), 100, 20, 30, (1, 1), 999),
    StageStarted("block0.lm", "lm", 0, 5, 2, 80),
    Step("block0.lm", 1, 1, 3.5, 40, 0.5),
    Step("block0.lm", 1, 2, 3.0, 40, 0.25),
    Epoch("block0.lm", 1, 3.25, 3.125, None, None, True, 3, 1.0),
    StageEnded("block0.lm", 1.5),
    StageStarted("block0.hard", "hard tokens", 0, 1, 1, 80),
    Threshold("block0.hard", 0, 0.125, 80, 40, (40, 40)),
    StageEnded("block0.hard", 0.5),
    Measured("evaluation", "early exit", "eval", "all", 20, 2.0, 0.25, (0.5, 0.5), 0.25, (1.5, 2.5)),
    Measured("evaluation", "oracle", "eval", "all", 20, 1.0, 0.5, (0.75, 0.25), 0.375),
    Warned("be careful"),
    RunFinished(4.0, 12345),
]


def new(name: str | None = None, method: str = "loss", tags: tuple[str, ...] = (), **record: str) -> NewRun:
    return NewRun(name, method, 42, "seed", '{"seed": 42}', {"host": "here", **record}, tags)


def block_tokens(block: int, first: float, last: bool = False) -> TokensMeasured:
    """Two tokens' statistics; `first` tells them from others."""
    signal = array("f", [] if last else [0.25, 0.5])
    columns = (array("f", [first, 2.5]), signal, array("f", [0.75, 0.125]), array("i", [7, 70_000]))
    return TokensMeasured(block, *(column.tobytes() for column in columns))


def without_steps(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Step)]


def kept(events: list[Event]) -> list[Event]:
    return [replace(event, window_losses=()) if isinstance(event, Measured) else event for event in events]


def store(writer: Writer, run: int, events: list[Event], size: int = 3) -> RunState:
    state = RunState()
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        state = fold(reduce, batch, state)
        writer.append(run, batch, state)
    return state


@pytest.mark.parametrize("size", [1, 3, 100])
def test_events_are_read_as_they_were_written_however_they_were_batched(
    writer: Writer, reader: Reader, size: int
) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, EVENTS, size)
    assert reader.events(run)[0] == kept(EVENTS)
    assert reader.events(run, steps=False)[0] == kept(without_steps(EVENTS))


def test_events_can_be_followed_from_where_the_last_read_ended(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    writer.append(run, EVENTS[:4], RunState("running"))
    first, place = reader.events(run)
    assert reader.events(run, place) == ([], place)
    writer.append(run, EVENTS[4:], RunState("finished"))
    second, _ = reader.events(run, place)
    assert first + second == kept(EVENTS)


def test_the_stored_log_folds_to_the_live_state_single_steps_aside(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, EVENTS)
    assert reader.state(run) == fold(reduce, without_steps(EVENTS), RunState())


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


def test_window_losses_are_kept_with_the_results(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, EVENTS)
    assert list(reader.window_losses(run, "early exit")) == [1.5, 2.5]
    assert list(reader.window_losses(run, "oracle")) == []
    assert list(reader.window_losses(run, "no such thing")) == []


def test_statistics_of_tokens_are_kept_by_block_and_not_in_the_log(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new()])
    store(writer, runs[0], [*EVENTS[:-1], block_tokens(1, 3.5, last=True), block_tokens(0, 1.5), EVENTS[-1]])
    assert reader.token_statistics(runs[0]) == [block_tokens(0, 1.5), block_tokens(1, 3.5, last=True)]
    assert reader.token_statistics(runs[1]) == []
    assert reader.events(runs[0])[0] == kept(EVENTS)


def test_new_statistics_of_a_block_replace_the_earlier_ones(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new()])
    for run in runs:
        store(writer, run, [EVENTS[0], block_tokens(0, 1.5), block_tokens(1, 1.5)])
    writer.append(runs[0], [block_tokens(0, 4.5)], RunState("running"))
    assert reader.token_statistics(runs[0]) == [block_tokens(0, 4.5), block_tokens(1, 1.5)]
    assert reader.token_statistics(runs[1]) == [block_tokens(0, 1.5), block_tokens(1, 1.5)]


def test_statistics_are_stored_in_the_transaction_of_their_batch(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    with pytest.raises(StoreError):
        writer.append(run, [block_tokens(0, 1.5), EVENTS[9], EVENTS[9]], RunState("running"))
    assert reader.token_statistics(run) == []


TEXT = EvaluationText(2, ["<unk>", "a", "\ufffd", "名"], array("i", [1, 2, 3, 0, 1]))


def test_a_text_is_read_as_it_was_written(writer: Writer, reader: Reader) -> None:
    writer.keep_text("abc", TEXT)
    text = reader.text("abc")
    assert text == TEXT
    assert (list(text.inputs), list(text.targets)) == ([1, 2, 3, 0], [2, 3, 0, 1])
    assert reader.text("other") is None


def test_the_longest_text_of_a_fingerprint_is_kept(writer: Writer, reader: Reader) -> None:
    shorter = replace(TEXT, stream=TEXT.stream[:3])
    longer = replace(TEXT, stream=TEXT.stream + array("i", [2, 2]))
    for text, expected in ((TEXT, TEXT), (shorter, TEXT), (longer, longer)):
        writer.keep_text("abc", text)
        assert reader.text("abc") == expected


def test_a_text_goes_with_the_last_run_on_it(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new(fingerprint="abc"), new(fingerprint="abc"), new(fingerprint="def"), new()])
    writer.keep_text("abc", TEXT)
    writer.keep_text("def", TEXT)
    writer.delete(1)
    assert reader.text("abc") == TEXT
    writer.delete(2)
    assert reader.text("abc") is None
    assert reader.text("def") == TEXT


def test_a_run_that_starts_again_measures_again(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    started = reader.runs()[0]["started"]
    writer.requeue([run])
    (row,) = reader.runs()
    assert [row[name] for name in ("status", "error", "seconds", "started", "ended")] == ["queued", *[None] * 4]
    assert row["heartbeat"] >= started
    oracle = replace(EVENTS[10], window_losses=(3.0, 3.5))
    state = store(writer, run, [*EVENTS[:10], oracle, *EVENTS[11:]])
    assert reader.state(run).measured == state.measured
    assert list(reader.window_losses(run, "oracle")) == [3.0, 3.5]
    (row,) = reader.runs()
    assert (row["status"], row["error"], row["seconds"]) == ("finished", None, 4.0)
    assert started < row["started"] <= row["ended"]


def test_a_run_that_starts_again_has_not_yet_measured_what_it_had(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    writer.requeue([run])
    store(writer, run, EVENTS[:3])
    assert list(reader.window_losses(run, "early exit")) == []
    assert reader.runs()[0]["final_ppl"] is None


def test_only_what_ended_unfinished_is_queued_again_and_all_or_none(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new(), new()])
    store(writer, runs[0], [EVENTS[0], RunInterrupted("stopped", 1.0)])
    store(writer, runs[1], EVENTS)
    for others in ([runs[1]], [runs[2]], [99]):
        with pytest.raises(StoreError, match="can't be resumed"):
            writer.requeue([runs[0], *others])
    assert [row["status"] for row in reader.runs()] == ["interrupted", "finished", "queued"]


def test_a_log_that_another_process_wrote_on_is_gone_on_with(path: Path, writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    leg = [*EVENTS[:3], RunInterrupted("stopped", 1.0)]
    store(writer, run, leg)
    with Writer(path) as other:
        other.requeue([run])
        store(other, run, leg)
    writer.requeue([run])
    store(writer, run, leg)
    assert reader.events(run)[0] == leg * 3


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


def test_ending_a_run_that_waits_keeps_its_figures_and_ends_it_once(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, [*EVENTS[:11], RunInterrupted("stopped", 9.0)])
    writer.requeue([run])
    for _ in range(2):
        writer.end(run, RunInterrupted("stopped before it began", 0.0))
    (row,) = reader.runs()
    assert (row["status"], row["error"], row["seconds"]) == ("interrupted", "stopped before it began", 0.0)
    assert row["final_ppl"] == pytest.approx(2.718281828**2)
    assert len([event for event in reader.events(run)[0] if isinstance(event, RunInterrupted)]) == 2


def test_a_run_is_read_with_config_record_tags_and_notes(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new(tags=("b", "a", "b"))])
    writer.tag(run, ["c", "a"])
    writer.note(run, "looks good")
    row = reader.run(run)
    assert (row["config"], row["record"]) == ({"seed": 42}, {"host": "here"})
    assert row["tags"] == ["a", "b", "c"]
    assert [note["text"] for note in row["notes"]] == ["looks good"]


def test_runs_of_one_experiment_share_its_number_and_the_next_gets_another(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new(), new(method="distill")])
    writer.create_experiment([new()])
    assert [row["experiment"] for row in reader.runs()] == [1, 1, 2]
    assert [row["name"] for row in reader.runs()] == ["loss-1", "distill-2", "loss-3"]


def test_the_latest_experiment_is_the_newest_with_a_finished_run(writer: Writer, reader: Reader) -> None:
    first = writer.create_experiment([new(), new()])
    writer.create_experiment([new()])
    with pytest.raises(RunLookupError, match=r"no run .* has finished"):
        reader.latest_experiment()
    store(writer, first[1], EVENTS)
    assert reader.latest_experiment() == first


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


def test_runs_are_found_by_number_name_and_unique_prefix(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("apple"), new("apricot"), new("app"), new("100%_sure")])
    assert [reader.find(reference) for reference in ("2", "apricot", "apr", "app", "100%")] == [2, 2, 2, 3, 4]


def test_an_ambiguous_prefix_names_the_candidates(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("apple"), new("apricot")])
    with pytest.raises(RunLookupError, match="'ap' could be apple, apricot"):
        reader.find("ap")


@pytest.mark.parametrize("reference", ["9", "pear", "%", "a_ple", "' OR 1=1 --"])
def test_a_run_that_is_not_there_is_not_found(writer: Writer, reader: Reader, reference: str) -> None:
    writer.create_experiment([new("apple")])
    with pytest.raises(RunLookupError, match="there is no run"):
        reader.find(reference)


@pytest.mark.parametrize("name", ["'; DROP TABLE runs; --", 'x" OR "1"="1', "Robert'); --", "%", "名前 🙂"])
def test_names_that_look_like_sql_are_stored_verbatim(writer: Writer, reader: Reader, name: str) -> None:
    writer.create_experiment([new("plain"), new(name, tags=(name,))])
    writer.note(2, name)
    assert reader.find(name) == 2
    row = reader.run(2)
    assert (row["name"], row["tags"], row["notes"][0]["text"]) == (name, [name], name)


def test_runs_can_be_filtered_sorted_and_paged(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new("c"), new("a", "distill"), new("b")])
    store(writer, runs[2], EVENTS)

    def names(query: Query) -> list[str]:
        return [row["name"] for row in reader.runs(query)]

    assert names(Query(order_by="name")) == ["a", "b", "c"]
    assert names(Query(order_by="name", descending=True, limit=1, offset=1)) == ["b"]
    assert names(Query("method = ?", ("loss",))) == ["c", "b"]
    assert names(Query(order_by="final_ppl")) == ["b", "c", "a"]
    assert names(Query(order_by="final_ppl", descending=True))[0] == "b"
    with pytest.raises(ValueError, match="order by"):
        reader.runs(Query(order_by="name; DROP TABLE runs"))


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


def test_reading_works_while_a_writer_has_an_open_transaction(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("before")])
    with writer._transaction():
        writer._db.table("runs").update(1, {"name": "after"})
        assert reader.find("before") == 1
    assert reader.find("after") == 1


def test_a_transaction_that_fails_leaves_nothing_behind(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    with pytest.raises(StoreError):
        writer.append(run, [EVENTS[0], EVENTS[9], EVENTS[9]], RunState("running"))
    assert reader.events(run)[0] == []
    assert reader.runs()[0]["status"] == "queued"
    store(writer, run, EVENTS)
    assert reader.events(run)[0] == kept(EVENTS)


def test_a_reader_does_not_create_a_database(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        Reader(path)
    assert not path.exists()


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
    connection = sqlite3.connect(path)
    migrations().apply(Database(connection), stop_before="results")
    connection.execute(
        "INSERT INTO runs (experiment, name, method, seed, status, config, record, created) "
        "VALUES (1, 'old', 'loss', 42, 'finished', '{}', '{}', 0)"
    )
    connection.commit()
    connection.execute("PRAGMA user_version = 2")
    connection.close()
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


def test_a_silent_run_on_another_host_is_given_an_hour(path: Path) -> None:
    with Writer(path) as writer:
        writer.create_experiment([new("lately"), new("long ago")])
    execute(
        path, "UPDATE runs SET host = 'elsewhere', pid = 1", "UPDATE runs SET created = created - 7200 WHERE id = 2"
    )
    with Writer(path), Reader(path) as reader:
        assert [row["status"] for row in reader.runs()] == ["queued", "interrupted"]


def test_processes_that_meet_at_a_fresh_database_all_get_their_runs(path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from core.store.writer import NewRun, Writer
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


def test_the_record_is_plain_json(path: Path, writer: Writer) -> None:
    writer.create_experiment([new()])
    connection = sqlite3.connect(path)
    assert json.loads(connection.execute("SELECT record FROM runs").fetchone()[0]) == {"host": "here"}
    connection.close()


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return names
