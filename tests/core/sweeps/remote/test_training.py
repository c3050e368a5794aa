"""Remote runs without Ray: the same figures as here, whatever is lost, and every event once."""

import contextlib
import pickle
from collections.abc import Callable, Iterator

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Epoch, Warned
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.writer import Writer
from core.sweeps.remote.messages import Answer, Message, Reached, Task
from core.sweeps.remote.trainer import Trainer
from core.sweeps.remote.training import LostPlaceError, RemoteTraining
from core.sweeps.spec import Spec
from core.sweeps.work import Worker
from tests.core.session.listeners import ignore
from tests.core.sweeps.conftest import completed_trainings, stored
from tests.core.sweeps.test_work import finished, same_as_alone

MakeSpec = Callable[..., Spec]


class Near:
    """A place in this process that is lost after so many reports of progress; what it is told goes through pickle."""

    name = "nearby"

    def __init__(self, lasts: int, kind: str = "") -> None:
        self.trainer, self.left, self.kind = Trainer(), lasts, kind

    def begin(self, task: Task, dataset: Dataset) -> tuple[str, ...]:
        found = self.trainer.begin(pickle.loads(pickle.dumps(task)), "dataset", lambda: dataset)
        return (*found[:-1], self.kind or found[-1])

    def fetch(self) -> list[Message]:
        found: list[Message] = pickle.loads(pickle.dumps(self.trainer.fetch(1.0)))
        self.left -= sum(isinstance(message, Reached) for message in found)
        if self.left < 0:
            self.trainer.stop(10.0)
            raise LostPlaceError("nearby burnt down")
        return found

    def answer(self, answer: Answer, key: str | None) -> None:
        self.trainer.answer(pickle.loads(pickle.dumps(answer)))

    def stop(self) -> list[Message]:
        left, ended = self.trainer.stop(10.0)
        assert ended
        return left


class Neighbours:
    """Places one after the other, each of which lasts as long as it says."""

    def __init__(self, *lasts: int, kind: str = "") -> None:
        self.lasts, self.kind, self.taken = list(lasts), kind, 0

    @contextlib.contextmanager
    def take(self, config: RunConfig, threads: int, should_stop: Callable[[], bool]) -> Iterator[Near]:
        self.taken += 1
        yield Near(self.lasts.pop(0) if self.lasts else 1000, self.kind)


def test_a_sweep_whose_places_are_lost_is_that_of_this_machine_and_trains_no_stage_twice(
    writer: Writer, reader: Reader, make_spec: MakeSpec
) -> None:
    sweep, places = stored(writer, make_spec(("loss", "softmax"), hard_ratio="0.3,0.5")), Neighbours(1, 0)
    Worker(writer, sweep, ignore, training=RemoteTraining(places)).work(slots=2)
    assert finished(reader, sweep) == 4
    assert set(completed_trainings(reader, sweep).values()) == {1}
    warned = 0
    for cell in cells_of(reader, sweep):
        assert same_as_alone(reader, cell["id"])
        events = reader.events(cell["id"], steps=False)[0]
        warned += sum(isinstance(event, Warned) and "nearby burnt down" in event.message for event in events)
    assert places.taken == 4 + warned
    assert warned in (1, 2)  # one, where a run had all its stages from the other before its place was lost


def test_a_run_is_given_up_after_three_places(writer: Writer, reader: Reader, make_spec: MakeSpec) -> None:
    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5"))
    places = Neighbours(0, 0, 0)
    statuses = Worker(writer, sweep, ignore, training=RemoteTraining(places)).work()
    assert sorted(statuses.values()) == ["failed", "finished"]
    failed = next(run for run, status in statuses.items() if status == "failed")
    assert "3 places were lost with it, the last one so: nearby burnt down" in str(reader.run(failed)["error"])


def test_a_run_that_is_not_to_start_again_is_interrupted_with_its_checkpoint(
    writer: Writer, reader: Reader, make_spec: MakeSpec
) -> None:
    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5"))
    training = RemoteTraining(Neighbours(1), again=False)
    ((run, status),) = Worker(writer, sweep, ignore, training=training).work(once=True).items()
    assert (status, reader.run(run)["error"]) == (
        "interrupted",
        "nearby burnt down: eetui resume goes on from the last checkpoint",
    )
    assert [*Worker(writer, sweep, ignore).work().values()] == ["finished", "finished"]
    assert set(completed_trainings(reader, sweep).values()) == {1}
    assert same_as_alone(reader, run)


def test_what_fails_elsewhere_fails_as_here_and_a_bug_keeps_its_traceback(
    writer: Writer, reader: Reader, make_spec: MakeSpec
) -> None:
    sweep = stored(writer, make_spec(lr="0.01,1e37"))
    statuses = Worker(writer, sweep, ignore, training=RemoteTraining(Neighbours())).work()
    assert sorted(statuses.values()) == ["failed", "finished"]
    failed = next(run for run, status in statuses.items() if status == "failed")
    assert "diverged" in str(reader.run(failed)["error"])


def test_a_run_that_is_stopped_leaves_what_it_trained(writer: Writer, reader: Reader, make_spec: MakeSpec) -> None:
    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5"))
    seen: list[object] = []
    epochs = lambda: sum(isinstance(event, Epoch) for event in seen)  # noqa: E731
    listen = lambda run, events: seen.extend(events)  # noqa: E731
    worker = Worker(writer, sweep, listen, should_stop=lambda: epochs() > 1, training=RemoteTraining(Neighbours()))
    assert [*worker.work().values()] == ["interrupted"]
    assert [*Worker(writer, sweep, ignore).work().values()] == ["finished", "finished"]
    assert set(completed_trainings(reader, sweep).values()) == {1}
    assert all(same_as_alone(reader, cell["id"]) for cell in cells_of(reader, sweep))


def test_a_processor_of_another_kind_shares_no_stages(writer: Writer, reader: Reader, make_spec: MakeSpec) -> None:
    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5"))
    Worker(writer, sweep, ignore, training=RemoteTraining(Neighbours(kind="abacus"))).work()
    assert max(completed_trainings(reader, sweep).values()) == 2
    for cell in cells_of(reader, sweep):
        events = reader.events(cell["id"], steps=False)[0]
        assert any(isinstance(event, Warned) and "computes with abacus" in event.message for event in events)
