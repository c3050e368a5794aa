"""Reading: what was written comes back, runs are found, sorted and filtered."""

from functools import reduce as fold
from pathlib import Path

import pytest

from core.errors import RunLookupError, StoreError
from core.state import RunState, reduce
from core.store.reader import Query, Reader
from core.store.rows import update_run
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, kept, new, store, without_steps


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


def test_window_losses_are_kept_with_the_results(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    store(writer, run, EVENTS)
    assert list(reader.window_losses(run, "early exit")) == [1.5, 2.5]
    assert list(reader.window_losses(run, "oracle")) == []
    assert list(reader.window_losses(run, "alone", 7)) == []


def test_a_run_is_read_with_config_record_tags_and_notes(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new(tags=("b", "a", "b"))])
    writer.tag(run, ["c", "a"])
    writer.note(run, "looks good")
    row = reader.run(run)
    assert (row["config"], row["record"]) == ({"seed": 42}, {"host": "here"})
    assert row["tags"] == ["a", "b", "c"]
    assert [note["text"] for note in row["notes"]] == ["looks good"]


def test_the_latest_experiment_is_the_newest_with_a_finished_run(writer: Writer, reader: Reader) -> None:
    first = writer.create_experiment([new(), new()])
    writer.create_experiment([new()])
    with pytest.raises(RunLookupError, match=r"no run .* has finished"):
        reader.latest_experiment()
    store(writer, first[1], EVENTS)
    assert reader.latest_experiment() == first


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


def test_reading_works_while_a_writer_has_an_open_transaction(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new("before")])
    with writer.transaction():
        update_run(writer._connection, 1, {"name": "after"})
        assert reader.find("before") == 1
    assert reader.find("after") == 1


def test_a_reader_does_not_create_a_database(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        Reader(path)
    assert not path.exists()


@pytest.mark.parametrize("find", ["find", "find_whole", "find_deleted"])
def test_of_a_huge_name_the_message_keeps_what_to_do(find: str, writer: Writer, reader: Reader) -> None:
    store(writer, *writer.create_experiment([new()]), EVENTS)
    with pytest.raises(RunLookupError, match=r"^there is no run 'n+…' in .*: eetui ls .*") as raised:
        getattr(reader, find)("n" * 1_000_000)
    assert len(str(raised.value)) < 500
