"""A Ray cluster whose nodes train runs: joined or started, checked, and given back."""

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from core.config.run_config import RunConfig
from core.errors import StoppedError, TrainingError, UsageError
from core.machine.cores import allowed_cores
from core.sweeps.remote import node
from core.sweeps.remote.address import LOCAL, require_reachable

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray will have it, without a warning
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from core.sweeps.remote.ray_place import RayPlace, RayTrainer, Shipped

PROBE_SECONDS = 120.0
"""Time that nodes have to say what is installed; the first process on one takes seconds to start."""
LOOK_SECONDS = 0.2
"""Interval at which a run that waits for a place looks for other ones."""


class Cluster:
    """The nodes of a cluster, as places for runs. Places are kept from run to run, and taken by several threads.

    Args:
        trainer: what is started there.

    Attributes:
        taken: the places with a run.
    """

    def __init__(self, trainer: type[RayTrainer] = RayTrainer) -> None:
        self._actor = ray.remote(trainer)
        self._shipped = Shipped()
        self.taken: list[RayPlace] = []
        self._idle: list[RayPlace] = []
        self._turn = threading.Lock()

    def slots(self, threads: int, *, gpu: bool) -> int:
        """Return how many runs with so many threads all nodes have room for at once."""
        return room(needs_of(threads, gpu=gpu))

    @contextlib.contextmanager
    def take(self, config: RunConfig, threads: int, should_stop: Callable[[], bool]) -> Iterator[RayPlace]:
        """Take a free place for a run; see `core.sweeps.remote.training.Places`."""
        needs = needs_of(threads, gpu=config.machine.device.startswith("cuda"))
        place = self._idle_place(needs) or self._new_place(needs, should_stop)
        self.taken.append(place)
        try:
            yield place
        finally:
            self.taken.remove(place)
            if place.idle:
                with self._turn:
                    self._idle.append(place)
            else:
                place.end()

    def _idle_place(self, needs: dict[str, float]) -> RayPlace | None:
        with self._turn:
            found = next((place for place in self._idle if place.needs == needs), None)
            if found is not None:
                self._idle.remove(found)
            return found

    def _new_place(self, needs: dict[str, float], should_stop: Callable[[], bool]) -> RayPlace:
        """Start an actor, or take one that another run leaves meanwhile."""
        place: RayPlace | None = None
        while True:
            _require_room(needs)
            if place is None:
                actor = self._actor.options(num_cpus=needs["CPU"], num_gpus=needs["GPU"]).remote()
                place = RayPlace(actor, needs, self._shipped)
            if ray.wait([place.hello], timeout=LOOK_SECONDS)[0]:
                try:
                    require_same(place.greet(), place.name)
                except UsageError as error:
                    place.end()
                    raise TrainingError(str(error)) from error
                return place
            if should_stop():
                place.end()
                raise StoppedError("stopped by the user")
            if left := self._idle_place(needs):
                place.end()
                return left
            self._make_room()

    def _make_room(self) -> None:
        """End an idle place, whose resources another needs."""
        with self._turn:
            if self._idle:
                self._idle.pop().end()


@contextlib.contextmanager
def cluster(address: str = LOCAL, *, object_store_memory: int | None = None) -> Iterator[Cluster]:
    """Join the cluster of an address, or start one on this machine, and leave it at the end.

    Args:
        object_store_memory: bytes of a new cluster's object store; None: Ray's choice.

    Raises:
        UsageError: it can't be reached, or a node has another eetui or torch than this machine.
    """
    require_reachable(address)
    own: dict[str, Any] = {"num_cpus": len(allowed_cores()), "include_dashboard": False}
    if object_store_memory:
        own["object_store_memory"] = object_store_memory
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own calls
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=True,
                **(own if address == LOCAL else {}),
            )  # fmt: skip
    except (Exception, SystemExit) as error:  # Ray raises bare ones too, as where its processes start too slowly
        ray.shutdown()
        raise UsageError(
            f"Ray can't be used at {address}: {str(error).strip().partition(chr(10))[0]}"
            + ("" if address == LOCAL else "; this machine must be a node of the cluster: ray start --address=…")
        ) from error
    try:
        _check_nodes()
        yield Cluster()
    finally:
        ray.shutdown()


def _check_nodes() -> None:
    """Refuse a cluster with a node that has another eetui or torch.

    Raises:
        UsageError: it has.
    """
    ray.cloudpickle.register_pickle_by_value(node)
    try:
        probe = ray.remote(node.installed)
        asked = {
            probe.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(found["NodeID"], soft=False)
            ).remote(): found["NodeManagerAddress"]
            for found in _nodes()
        }
        for ref, address in asked.items():
            try:
                facts = ray.get(ref, timeout=PROBE_SECONDS)
            except ray.exceptions.GetTimeoutError:
                raise UsageError(
                    f"node {address} of the cluster does not answer: see ray status, or remove it"
                ) from None
            except ray.exceptions.RayError:  # it has gone meanwhile; places on any node are looked at again
                continue
            require_same(facts, f"node {address} ({facts['host']})")
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node)


def require_same(facts: dict[str, str], name: str) -> None:
    """Refuse a node that has another eetui or torch than this machine.

    Raises:
        UsageError: it has.
    """
    here = node.installed()
    if any(facts[key] != here[key] for key in ("eetui", "torch", "code")):
        raise UsageError(
            f"{name} has {node.named(facts)}, and this machine {node.named(here)}: install the same on all of them"
        )


def needs_of(threads: int, *, gpu: bool) -> dict[str, float]:
    """Return the resources that a process takes which computes with so many threads."""
    return {"CPU": float(threads), "GPU": float(gpu)}


def room(needs: dict[str, float]) -> int:
    """Return how many processes with such needs all nodes have room for, were they free."""
    return sum(_fits(found, needs) for found in _resources())


def _require_room(needs: dict[str, float]) -> None:
    """Refuse a run that no node has the resources for.

    Raises:
        TrainingError: none has.
    """
    if not any(_fits(found, needs) for found in _resources()):
        asked = ", ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
        raise TrainingError(f"no node of the cluster has {asked}: lower machine.threads, or add a node")


def _fits(resources: dict[str, float], needs: dict[str, float]) -> int:
    """Return how many runs a node has room for."""
    return int(min(resources.get(name, 0.0) // amount for name, amount in needs.items() if amount))


def _resources() -> list[dict[str, float]]:
    return [found["Resources"] for found in _nodes()]


def _nodes() -> list[dict[str, Any]]:
    """Return the nodes that can compute."""
    return [found for found in ray.nodes() if found["Alive"] and found["Resources"].get("CPU")]
