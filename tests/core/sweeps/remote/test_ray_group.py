"""One run on several Ray workers: the figures of one process, every event once, and one worker that is killed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.events import Epoch, Event, Measured, RunStarted, Step
from core.machine.cores import allowed_cores
from core.session.plan import Plan
from core.session.prepare import prepare, prepare_resume
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer
from core.sweeps.remote.training import RemoteTraining
from tests.core.session.listeners import ignore
from tests.core.session.test_together import OWN, alone, make, require_alike

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(len(allowed_cores()) < 2, reason="two workers need two cores"),
    pytest.mark.timeout(240),  # most of it is Ray's, on a busy machine
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
ray_cluster = pytest.importorskip("core.sweeps.remote.ray_cluster", reason="Ray is not installed", exc_type=ImportError)


@pytest.fixture
def groups() -> Iterator[Any]:
    """Return the groups of two workers of a cluster on this machine."""
    from core.sweeps.remote.ray_group import Groups

    with ray_cluster.cluster(object_store_memory=100_000_000):
        yield Groups(2)


def test_workers_give_the_figures_of_one_process_and_one_that_is_killed_interrupts_the_run(
    groups: Any, writer: Writer, reader: Reader, text: Path
) -> None:
    import ray

    config = make(text, "sound", *OWN, "method=gain", "dropout=0.2", "batch_size=3")
    training = RemoteTraining(groups, again=False)
    prepared = prepare(Plan((config, config), (None, None)), writer, workers=2)
    seen: dict[int, list[Event]] = {1: [], 2: []}

    def kill(run: int, events: Sequence[Event]) -> None:
        before = any(isinstance(event, Epoch) for event in seen[run])
        seen[run] += events
        if run == 2 and not before and any(isinstance(event, Epoch) for event in events):
            ray.kill(groups.now.actors[1])

    assert run_experiment(prepared, writer, kill, training=training) == ["finished", "interrupted"]
    assert reader.run(1)["record"]["processes"] == 2
    require_alike(seen[1], alone(config))
    said = str(reader.run(2)["error"])
    assert "worker 2 of 2 is lost" in said
    assert "eetui resume goes on from the last checkpoint" in said
    assert run_experiment(prepare_resume([2], writer, workers=2), writer, ignore, training=training) == ["finished"]
    events = reader.events(2)[0]
    steps = [(event.stage, event.epoch, event.step) for event in events if isinstance(event, Step)]
    assert len(set(steps)) == len(steps)
    last_start = max(place for place, event in enumerate(events) if isinstance(event, RunStarted))
    again = events[last_start:]  # which repeats what was measured before the kill, if anything was
    measured, expected = ([one for one in those if isinstance(one, Measured)] for those in (again, reader.events(1)[0]))
    require_alike([*measured], [*expected])
