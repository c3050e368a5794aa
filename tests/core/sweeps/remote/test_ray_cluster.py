"""A real Ray cluster of two nodes, one of which is killed in the middle of a sweep."""

from collections.abc import Callable, Sequence

import pytest

from core.errors import TrainingError
from core.events import Epoch, Event, RunStarted, StageEnded, Warned
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.writer import Writer
from core.sweeps.remote.training import RemoteTraining
from core.sweeps.spec import Spec
from core.sweeps.work import Worker
from tests.core.sweeps.conftest import completed_trainings, stored
from tests.core.sweeps.test_work import finished, same_as_alone

ray_cluster = pytest.importorskip("core.sweeps.remote.ray_cluster", reason="Ray is not installed", exc_type=ImportError)
MEMORY = 100_000_000
NODE = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
HEALTH = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""Ray takes 15 s else to see that a node is gone."""


@pytest.mark.soak
@pytest.mark.timeout(240)  # most of it is Ray's, on a busy machine
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_sweep_outlives_a_node_and_has_the_bits_and_the_events_of_this_machine(
    writer: Writer, reader: Reader, make_spec: Callable[..., Spec]
) -> None:
    from ray.cluster_utils import Cluster

    sweep = stored(writer, make_spec(hard_ratio="0.3,0.5,0.7", max_epochs="8", patience="8"))
    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": HEALTH})
    try:
        second = nodes.add_node(**{name: NODE[name] for name in ("num_cpus", "object_store_memory")})
        second_id = second.node_id
        with ray_cluster.cluster(nodes.address) as cluster:
            assert cluster.slots(1, gpu=False) == 2
            with pytest.raises(TrainingError, match="no node of the cluster has 2 CPU"):
                ray_cluster._require_room({"CPU": 2.0, "GPU": 0.0})
            killed: list[str] = []

            def kill(run: int, events: Sequence[Event]) -> None:
                on_second = [place for place in cluster.taken if place.node == second_id]
                if not killed and on_second and any(isinstance(event, Epoch) for event in events):
                    killed.append(second_id)
                    nodes.remove_node(second, allow_graceful=False)

            Worker(writer, sweep, kill, training=RemoteTraining(cluster)).work(slots=2)
    finally:
        nodes.shutdown()
    assert killed
    assert finished(reader, sweep) == 3
    assert set(completed_trainings(reader, sweep).values()) == {1}
    logs = [reader.events(cell["id"], steps=False)[0] for cell in cells_of(reader, sweep)]
    assert any(
        isinstance(event, Warned) and "the run goes on at node" in event.message for log in logs for event in log
    )
    for cell, log in zip(cells_of(reader, sweep), logs, strict=True):
        assert same_as_alone(reader, cell["id"])
        start = max(place for place, event in enumerate(log) if isinstance(event, RunStarted))
        once = [
            (type(event), event.stage, getattr(event, "epoch", 0))
            for event in log[start:]
            if isinstance(event, Epoch | StageEnded)
        ]
        assert len(once) == len(set(once))
