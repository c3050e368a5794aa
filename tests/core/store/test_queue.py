"""The queue: no run is taken twice, and none is lost with who took it."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import UsageError
from core.events import RunInterrupted
from core.store.liveness import GONE
from core.store.new_runs import NewRun
from core.store.queue import DIED, drop, enqueue, leave, move, queued, take, take_run
from core.store.reader import Reader
from core.store.writer import Writer


def add(writer: Writer, origins: Sequence[str]) -> list[int]:
    new = [NewRun(None, "loss", 1, None, "{}", {}) for _ in origins]
    return writer.create_experiment(new, lambda connection, runs: enqueue(connection, runs, origins))


def taken(writer: Writer, ready: Sequence[str] = (), like: str = "") -> int | None:
    found = take(writer, None, lambda key: key in ready, like)
    return found and found[0]


def kill_owner(path: Path, run: int) -> None:
    """Let a run be held by a process that never was."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET pid = 0 WHERE id = ?", [run])
    connection.close()


def test_runs_wait_without_a_process_and_are_no_less_queued(writer: Writer, reader: Reader, path: Path) -> None:
    add(writer, ["a", "b"])
    assert [row["status"] for row in reader.runs()] == ["queued", "queued"]
    with Writer(path):
        assert reader.gone() == ()


def test_two_workers_never_take_the_same_run(writer: Writer, path: Path) -> None:
    runs = add(writer, [str(number % 3) for number in range(30)])
    found: list[int] = []

    def work() -> None:
        with Writer(path) as own:
            while (run := taken(own)) is not None:
                found.append(run)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == runs


def test_a_run_whose_first_stage_nobody_trains_comes_before_one_that_has_to_wait(writer: Writer) -> None:
    first, second, other = add(writer, ["a", "a", "b"])
    assert [taken(writer), taken(writer), taken(writer)] == [first, other, second]


def test_runs_of_the_same_first_stage_follow_each_other(writer: Writer) -> None:
    first, other, second = add(writer, ["a", "b", "a"])
    assert [taken(writer), taken(writer, like="a"), taken(writer, like="a")] == [first, second, other]


def test_a_dead_workers_run_is_taken_again_until_too_many_died(writer: Writer, reader: Reader, path: Path) -> None:
    (run,) = add(writer, ["a"])
    for _ in range(3):
        assert taken(writer) == run
        assert taken(writer) is None
        kill_owner(path, run)
    assert taken(writer) is None
    assert reader.run(run)["error"] == DIED
    assert queued(reader) == []


def test_a_run_whose_end_was_written_for_its_dead_worker_is_taken_too(writer: Writer) -> None:
    (run,) = add(writer, ["a"])
    taken(writer)
    writer.end(run, RunInterrupted(GONE, 0.0))
    assert taken(writer) == run


def test_a_run_that_ended_is_in_the_queue_no_more(writer: Writer, reader: Reader) -> None:
    run, other = add(writer, ["a", "b"])
    leave(writer, run)
    assert [row["id"] for row in queued(reader)] == [other]


def test_runs_are_moved_and_dropped(writer: Writer, reader: Reader) -> None:
    first, second, third = add(writer, ["a", "b", "c"])
    move(writer, third, 1)
    assert [row["id"] for row in queued(reader)] == [third, first, second]
    drop(writer, [first])
    assert [row["id"] for row in queued(reader)] == [third, second]
    assert reader.run(first)["status"] == "interrupted"
    with pytest.raises(UsageError, match=f"run {first} is not in the queue"):
        move(writer, first, 1)
    move(writer, third, 10**30)
    assert [row["id"] for row in queued(reader)] == [second, third]


def test_what_was_trained_outside_of_the_queue_takes_no_place_in_it(writer: Writer, reader: Reader, path: Path) -> None:
    outside, first, second, third = add(writer, ["a", "b", "c", "d"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET status = 'finished' WHERE id = ?", [outside])
    connection.close()
    move(writer, third, 2)
    assert [row["id"] for row in queued(reader)] == [first, third, second]
    with pytest.raises(UsageError, match=f"run {outside} is not in the queue"):
        move(writer, outside, 1)


def test_a_run_that_a_worker_has_taken_and_not_begun_is_not_dropped(writer: Writer, reader: Reader) -> None:
    run, other = add(writer, ["a", "b"])
    assert taken(writer) == run
    with pytest.raises(UsageError, match=f"run {run} is held by process"):
        drop(writer, [other, run])
    assert [row["status"] for row in queued(reader)] == ["queued", "queued"]


def test_one_run_is_taken_by_its_number_unless_somebody_holds_it(writer: Writer, path: Path) -> None:
    run, other = add(writer, ["a", "b"])
    assert take_run(writer, run)
    with pytest.raises(UsageError, match=f"run {run} is held by process"):
        take_run(writer, run)
    kill_owner(path, run)
    assert take_run(writer, run)
    assert taken(writer) == other
