"""A database that is removed or replaced under a run: noticed, and all of it is in a new one to go on with."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.errors import VanishedError
from core.events import Epoch, Event, RunFinished, Step
from core.protocol.checkpoint import Checkpoint
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.session.listeners import ignore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "runs.db"


def removed(path: Path) -> None:
    for file in path.parent.glob("runs.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def log_removed(path: Path) -> None:
    path.with_name("runs.db-wal").unlink()


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def replaced(path: Path) -> None:
    other = path.with_name("other.db")
    with Writer(other) as writer:
        writer.create_experiment([NewRun("other", "loss", 1, None, "{}", {})])
    other.replace(path)


def moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def after(kind: type[Event], do: Callable[[], None], number: int = 2) -> Callable[[int, Sequence[Event]], None]:
    """A listener that does something at an event of some kind."""
    left = [number]

    def publish(run: int, events: Sequence[Event]) -> None:
        for event in events:
            left[0] -= isinstance(event, kind)
            if isinstance(event, kind) and left[0] == 0:
                do()

    return publish


def rescued(path: Path) -> Path:
    (found,) = [*path.parent.parent.rglob("runs.rescued*.db")]
    return found


@pytest.fixture
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let databases be on a network file system, or not: without a write-ahead log SQLite writes no file that moved."""
    monkeypatch.setattr("core.store.opening.is_network", lambda kind: request.param)


@pytest.mark.parametrize("how", [removed, log_removed, folder_removed, replaced, moved])
def test_a_run_whose_database_goes_is_saved_as_it_stands_and_goes_on_to_the_same_numbers(
    how: Callable[[Path], None], writer: Writer, path: Path, queue: Callable[..., Prepared], tmp_path: Path
) -> None:
    seen: list[Event] = []
    prepared = queue("loss", "softmax")
    whole = Writer(tmp_path / "whole.db")
    rows = [NewRun(None, config.method, 1, None, config.model_dump_json(), {}) for config in prepared.configs]
    whole.create_experiment(rows)
    run_experiment(prepared, whole, ignore)
    listener = after(Epoch, lambda: how(path))

    def publish(run: int, events: Sequence[Event]) -> None:
        seen.extend(events)
        listener(run, events)

    with pytest.raises(
        VanishedError, match=r"removed or replaced.*eetui resume 1 2 --db \S*runs\.rescued\.db"
    ) as error:
        run_experiment(prepared, writer, publish)
    assert str(rescued(path)) in str(error.value)
    with Reader(rescued(path)) as reader:
        assert [row["status"] for row in reader.runs()] == ["interrupted"] * 2
        assert "removed or replaced" in reader.runs()[0]["error"]
        assert [event for event in reader.events(1)[0] if isinstance(event, Step)] == [
            event for event in seen if isinstance(event, Step)
        ]
    with Writer(rescued(path)) as there:
        there.requeue([1, 2])
        assert run_experiment(prepared, there, ignore) == ["finished", "finished"]
    with Reader(rescued(path)) as reader, Reader(whole.path) as expected:
        for run in (1, 2):
            assert reader.state(run).measured == expected.state(run).measured
            assert reader.token_statistics(run) == expected.token_statistics(run)
    whole.close()


def test_weights_that_are_still_there_come_along(writer: Writer, path: Path, queue: Callable[..., Prepared]) -> None:
    def database_alone() -> None:
        for file in path.parent.glob("runs.db*"):
            if file.is_file():
                file.unlink()

    prepared = queue("loss")
    with pytest.raises(VanishedError):
        run_experiment(prepared, writer, after(Epoch, database_alone, 3))
    with Reader(rescued(path)) as reader:
        created = reader.run(1)["created"]
    checkpoint = Checkpoint.of_run(rescued(path), 1, prepared.configs[0], prepared.dataset.fingerprint, created)
    assert checkpoint.recall("block0.lm") is not None


@pytest.mark.parametrize("network", [False, True], indirect=True)
def test_what_is_there_at_the_very_end_is_a_finished_run(
    network: None,
    writer: Writer,
    path: Path,
    queue: Callable[..., Prepared],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Writer.append

    def append(store: Writer, run: int, events: Sequence[Event], *rest: object) -> None:
        if isinstance(events[-1], RunFinished):
            removed(path)
        real(store, run, events, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "append", append)
    with pytest.raises(VanishedError, match=r"to see it: eetui ls --db"):
        run_experiment(queue("loss"), writer, ignore)
    with Reader(rescued(path)) as reader:
        assert reader.state(1).status == reader.runs()[0]["status"] == "finished"
        assert len(reader.token_statistics(1)) == 2


def test_a_name_that_is_taken_is_left_alone(writer: Writer, path: Path, queue: Callable[..., Prepared]) -> None:
    taken = path.with_name("runs.rescued.db")
    taken.write_text("mine")
    with pytest.raises(VanishedError, match=r"runs\.rescued-2\.db"):
        run_experiment(queue("loss"), writer, after(Epoch, lambda: path.unlink()))
    assert taken.read_text() == "mine"


def test_where_nothing_can_be_written_that_is_said(
    writer: Writer, path: Path, queue: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(file: Path) -> Iterator[Path]:
        yield file.parent / "missing" / "runs.db"
        yield file.parent  # a folder

    monkeypatch.setattr("core.session.rescue.places_near", nowhere)
    with pytest.raises(VanishedError, match="could be written nowhere else"):
        run_experiment(queue("loss"), writer, after(Epoch, lambda: path.unlink()))


def test_a_database_that_stays_is_not_copied(writer: Writer, path: Path, queue: Callable[..., Prepared]) -> None:
    assert run_experiment(queue("loss"), writer, ignore) == ["finished"]
    assert not [*path.parent.glob("*rescued*")]


@pytest.mark.parametrize("network", [True], indirect=True)
@pytest.mark.parametrize("how", [removed, folder_removed, replaced, moved])
def test_what_can_not_be_stored_any_more_is_in_the_new_one(
    how: Callable[[Path], None], network: None, writer: Writer, path: Path, queue: Callable[..., Prepared]
) -> None:
    seen: list[Event] = []
    listener = after(Epoch, lambda: how(path))

    def publish(run: int, events: Sequence[Event]) -> None:
        seen.extend(events)
        listener(run, events)

    began = time.monotonic()
    with pytest.raises(VanishedError, match=r"eetui resume 1 --db"):
        run_experiment(queue("loss"), writer, publish, lambda: time.monotonic() - began > 20)
    with Reader(rescued(path)) as reader:
        assert reader.runs()[0]["status"] == "interrupted"
        assert "removed or replaced" in reader.runs()[0]["error"]
        assert [type(event) for event in reader.events(1)[0]] == [type(event) for event in seen]
