"""The bin: nothing that was deleted is lost for thirty days, and nothing of it is in the way."""

import sqlite3
import time
from array import array
from pathlib import Path

import pytest

from core.errors import RunLookupError, StoreError
from core.store.bin import KEPT_DAYS
from core.store.files import checkpoint_folder
from core.store.lock import training_alone
from core.store.new_runs import NewRun
from core.store.reader import Query, Reader
from core.store.tokens import EvaluationText
from core.store.writer import Writer


def new(name: str) -> NewRun:
    return NewRun(name, "loss", 1, None, "{}", {"fingerprint": "f"}, ("tag",))


def execute(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql, values)
    connection.close()


@pytest.fixture
def three(writer: Writer, path: Path) -> Path:
    """Runs 1 to 3, called one, two and three, with notes and weights; all have ended."""
    for run in writer.create_experiment([new("one"), new("two"), new("three")]):
        writer.note(run, f"note {run}")
        checkpoint_folder(path, run).mkdir(parents=True)
    execute(path, "UPDATE runs SET status = 'finished'")
    return path


def names(reader: Reader, *, deleted: bool = False) -> list[str]:
    return [row["name"] for row in reader.runs(Query(deleted=deleted))]


def test_what_is_discarded_is_out_of_every_view_and_keeps_everything(
    three: Path, writer: Writer, reader: Reader
) -> None:
    before = reader.run(2)
    writer.discard([2])
    assert names(reader) == ["one", "three"]
    assert (reader.count(), reader.count(Query(deleted=True))) == (2, 1)
    assert reader.count(Query("method = 'loss'")) == 2
    with pytest.raises(RunLookupError, match="there is no run 2 in"):
        reader.run(2)
    assert reader.latest_experiment() == [1, 3]
    assert checkpoint_folder(three, 2).is_dir()
    (row,) = reader.runs(Query(deleted=True), ("id", "name", "tags", "status", "deleted"))
    assert abs(row.pop("deleted") - time.time()) < 60
    assert row == {"id": 2, "name": "two", "tags": "tag", "status": "finished"}
    assert writer.restore([2]) == ["two"]
    assert reader.run(2) == before


def test_deleted_runs_are_filtered_sorted_and_paged_as_others_are(three: Path, writer: Writer, reader: Reader) -> None:
    writer.discard([1, 3])
    found = reader.runs(Query("name = 'three'", deleted=True))
    assert [row["id"] for row in found] == [3]
    assert [row["id"] for row in reader.runs(Query(order_by="name", limit=1, deleted=True))] == [1]


def test_a_name_is_free_at_once_and_given_back_if_it_still_is(three: Path, writer: Writer, reader: Reader) -> None:
    writer.discard([1])
    writer.create_experiment([new("one")])
    execute(three, "UPDATE runs SET status = 'finished'")
    assert reader.find("one") == 4
    assert writer.restore([1]) == ["one-1"]
    assert reader.find("one-1") == 1
    writer.discard([4])
    writer.rename(2, "one")
    writer.rename(3, "one-4")
    assert writer.restore([4]) == ["one-4'"]


def test_several_of_one_name_are_told_apart_by_number(three: Path, writer: Writer, reader: Reader) -> None:
    writer.discard([1])
    writer.rename(2, "one")
    writer.discard([2])
    with pytest.raises(RunLookupError, match="'one' is the name of several runs in the bin: take one of 1, 2"):
        reader.find_deleted("one")
    assert reader.find_deleted("2") == 2
    with pytest.raises(RunLookupError, match="in the bin: eetui ls --deleted lists"):
        reader.find_deleted("three")


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_live_run_is_not_discarded_and_neither_are_those_with_it(
    status: str, three: Path, writer: Writer, reader: Reader
) -> None:
    execute(three, "UPDATE runs SET status = ? WHERE id = 2", status)
    with pytest.raises(StoreError, match=rf"two \(run 2\) is {status}: stop it first"):
        writer.discard([1, 2])
    assert reader.count() == 3


def test_a_run_in_training_is_not_discarded_whatever_its_status(three: Path, writer: Writer) -> None:
    with training_alone(three, 2), pytest.raises(StoreError, match="is training it; stop it there first"):
        writer.discard([2])


def test_what_is_not_there_is_neither_discarded_nor_restored(three: Path, writer: Writer, reader: Reader) -> None:
    writer.discard([1])
    for work in (lambda: writer.discard([2, 1]), lambda: writer.discard([9]), lambda: writer.restore([1, 2])):
        with pytest.raises(RunLookupError):
            work()
    assert names(reader) == ["two", "three"]


def test_a_discarded_run_is_not_resumed(three: Path, writer: Writer) -> None:
    execute(three, "UPDATE runs SET status = 'interrupted'")
    writer.discard([1])
    with pytest.raises(StoreError, match="another process resumed or deleted it meanwhile"):
        writer.requeue([1])


def test_a_writer_empties_the_bin_of_what_is_too_old_with_its_weights(
    three: Path, writer: Writer, reader: Reader
) -> None:
    writer.keep_text("f", EvaluationText(["a"], array("i", [0, 0])))
    writer.discard([1, 2])
    execute(three, "UPDATE bin SET deleted = ? WHERE run_id = 1", time.time() - (KEPT_DAYS + 1) * 86_400)
    execute(three, "UPDATE bin SET deleted = ? WHERE run_id = 2", time.time() - (KEPT_DAYS - 1) * 86_400)
    assert names(reader, deleted=True) == ["one", "two"]
    Writer(three).__exit__()
    assert names(reader, deleted=True) == ["two"]
    assert [checkpoint_folder(three, run).is_dir() for run in (1, 2, 3)] == [False, True, True]
    assert reader.text("f") is not None
    assert writer.restore([2]) == ["two"]


@pytest.mark.parametrize("reference", ["", " ", "\t\n", "\u3000"])
def test_a_blank_reference_names_no_run_though_there_is_only_one(
    reference: str, three: Path, writer: Writer, reader: Reader
) -> None:
    writer.discard([1, 2])
    for find in (reader.find, reader.find_whole, reader.find_deleted):
        with pytest.raises(RunLookupError, match="not by nothing"):
            find(reference)


def test_a_prefix_is_no_whole_name_and_what_it_begins_is_said(three: Path, reader: Reader) -> None:
    assert (reader.find("tw"), reader.find_whole("two"), reader.find_whole("3")) == (2, 2, 3)
    with pytest.raises(RunLookupError, match=r"there is no run 't' in .*; numbers and whole names only here, such as"):
        reader.find_whole("t")


def test_who_looks_for_a_deleted_run_is_told_how_to_get_it_back(three: Path, writer: Writer, reader: Reader) -> None:
    writer.discard([2])
    for find in (reader.find, reader.find_whole):
        for reference in ("2", "two"):
            with pytest.raises(RunLookupError, match="was deleted: eetui restore 2 brings it back"):
                find(reference)
