"""Never two trainers on one run: a run that is somebody else's is left to them, and the others go on."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Event, RunFailed, Step
from core.session.prepare import Prepared
from core.session.run import run_experiment
from core.store import lock
from core.store.lock import trainer_of, training_alone
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def prepared(writer: Writer, tiny_config: MakeConfig, tiny_dataset: Dataset) -> Prepared:
    """Two tiny runs."""
    configs = tuple(tiny_config(method, max_epochs=1) for method in ("loss", "softmax"))
    new = [NewRun(None, config.method, 1, None, config.model_dump_json(), {}) for config in configs]
    return Prepared(configs, tuple(writer.create_experiment(new)), tiny_dataset)


def resumed_elsewhere(path: Path) -> None:
    """As another machine does that took this one for dead."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE runs SET pid = 77, host = 'elsewhere' WHERE id = 1")
    connection.close()


def test_a_run_is_locked_as_long_as_it_is_trained(writer: Writer, path: Path, prepared: Prepared) -> None:
    trainers: list[tuple[str | None, str | None]] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        trainers.append((trainer_of(path, 1), trainer_of(path, 2)))

    run_experiment(prepared, writer, publish)
    assert all((first is None) != (second is None) for first, second in trainers)
    assert trainer_of(path, 1) is trainer_of(path, 2) is None


def test_a_run_that_another_process_trains_fails_here_and_the_next_goes_on(
    writer: Writer, reader: Reader, path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.0)
    said: list[Event] = []
    with training_alone(path, 1):
        statuses = run_experiment(prepared, writer, lambda run, events: said.extend(events) if run == 1 else None)
    assert statuses == ["failed", "finished"]
    (failed,) = said
    assert isinstance(failed, RunFailed)
    assert "run 1 is in training already, by process" in failed.message
    assert reader.events(1)[0] == []


@pytest.mark.parametrize("when", ["before it begins", "in the middle"])
def test_a_run_that_was_resumed_elsewhere_is_let_go_and_the_next_goes_on(
    when: str, writer: Writer, reader: Reader, path: Path, prepared: Prepared
) -> None:
    said: list[Event] = []

    def publish(run: int, events: Sequence[Event]) -> None:
        said.extend(events if run == 1 else ())
        if run == 1 and any(isinstance(event, Step) for event in events):
            resumed_elsewhere(path)

    if when == "before it begins":
        resumed_elsewhere(path)
    assert run_experiment(prepared, writer, publish) == ["failed", "finished"]
    assert isinstance(said[-1], RunFailed)
    assert "was resumed by process 77 on elsewhere" in said[-1].message
    assert reader.run(1)["host"] == "elsewhere"
    assert not any(isinstance(event, RunFailed) for event in reader.events(1)[0])
