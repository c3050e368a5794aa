"""Several Ray actors that train each run together, data parallel, as one place for runs."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import EetuiError, LostProcessError, StoppedError, TrainingError, UsageError
from core.parallel.launch import Launch
from core.parallel.world import joined
from core.session.together import follow
from core.sweeps.remote.messages import Message, Over, Task
from core.sweeps.remote.ray_cluster import LOOK_SECONDS, needs_of, require_same, room
from core.sweeps.remote.ray_place import RayPlace, RayTrainer, Shipped
from core.sweeps.remote.training import LostPlaceError

TELL_SECONDS = 30.0
"""Time that Ray has to tell which actor is gone, once another one misses it."""


class GroupTrainer(RayTrainer):
    """A trainer in one of several actors: the first leads, and the others follow it."""

    def meeting_point(self) -> tuple[str, int]:
        """Return address and a free port of the node that this is on."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def join(self, rank: int, size: int, address: str, port: int) -> None:
        """Join the others; each process has the devices that Ray shows it for itself."""
        own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        os.environ |= {"MASTER_ADDR": address} | {
            name: str(value) for name, value in (own | {"MASTER_PORT": port}).items()
        }
        self._stay = contextlib.ExitStack()
        self._together = self._stay.enter_context(joined(Launch(rank, size, 0, 1)))

    def follow(self, refs: list[Any]) -> None:
        """Train with the first actor whatever it trains, on the dataset of a reference."""
        dataset: Dataset = ray.get(refs[0])
        follow(self._together, lambda: False, {dataset.fingerprint: dataset})


class RayGroup(RayPlace):
    """Actors that train each run together; the first is the one that speaks."""

    def __init__(self, actors: Sequence[Any], needs: dict[str, float], shipped: Shipped, bundles: Any) -> None:
        super().__init__(actors[0], needs, shipped)
        self.actors, self._bundles = actors, bundles
        self._following: list[Any] = []

    def gather(self) -> None:
        """Let all actors join each other.

        Raises:
            TrainingError: one has another eetui or torch, or they can't reach each other.
        """
        for facts in self._get([actor.hello.remote() for actor in self.actors]):
            try:
                require_same(facts, f"node {facts['address']} ({facts['host']})")
            except UsageError as error:
                raise TrainingError(str(error)) from error
        address, port = self._get(self.actor.meeting_point.remote())
        size = len(self.actors)
        self._get([actor.join.remote(rank, size, address, port) for rank, actor in enumerate(self.actors)])
        self.facts = self._get(self.hello)

    def begin(self, task: Task, dataset: Dataset) -> tuple[str, ...]:
        """Begin to train a run in all actors."""
        if not self._following:
            ref = self._shipped.ref(self._shipped.name(dataset), dataset)
            self._following = [actor.follow.remote([ref]) for actor in self.actors[1:]]
        return super().begin(task, dataset)

    def fetch(self) -> list[Message]:
        """Return what the run has said since the last call.

        Raises:
            LostPlaceError: one of the actors is gone.
        """
        found = super().fetch()
        over = found[-1] if found and isinstance(found[-1], Over) else None
        if over is not None and isinstance(over.error, LostProcessError):
            self.idle = False
            found[-1] = Over(self._lost(TELL_SECONDS))
        elif over is None and not found and self._ended(0.0):
            raise self._lost(0.0)
        return found

    def end(self) -> None:
        """End the actors; their resources are free for others."""
        for actor in self.actors:
            ray.kill(actor)
        remove_placement_group(self._bundles)

    def _ended(self, wait: float) -> list[Any]:
        """Return the references of the followers that have ended, of which none should have, after a while at most."""
        if not self._following:
            return []
        return ray.wait(self._following, timeout=wait)[0]

    def _lost(self, wait: float) -> LostPlaceError:
        """Return the error that names the worker that is gone, as far as Ray can tell."""
        reasons = dict[int, str]()
        for ref in self._ended(wait):
            try:
                ray.get(ref)
            except RayTaskError:  # it misses another one
                continue
            except ray.exceptions.RayError as error:
                reasons[self._following.index(ref) + 1] = str(error).strip().partition("\n")[0]
        which, why = next(iter(reasons.items()), (0, ""))
        name = f"worker {which + 1} of {len(self.actors)}" if reasons else f"one of {len(self.actors)} workers"
        return LostPlaceError(f"{name} is lost{f' ({why})' if why else ''}")

    def _get(self, ref: Any) -> Any:
        try:
            return super()._get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, EetuiError):
                raise error.cause from error
            raise


class Groups:
    """Places of which each is several actors; see `core.sweeps.remote.training.Places`. One is kept from run to run.

    Attributes:
        now: the one in use, or kept for the next run.
    """

    def __init__(self, workers: int) -> None:
        self._actor = ray.remote(GroupTrainer)
        self._shipped = Shipped()
        self._workers = workers
        self.now: RayGroup | None = None

    @contextlib.contextmanager
    def take(self, config: RunConfig, threads: int, should_stop: Callable[[], bool]) -> Iterator[RayGroup]:
        """Take the group, or start one once there is room for it."""
        needs = needs_of(threads, gpu=config.machine.device.startswith("cuda"))
        if self.now is not None and self.now.needs != needs:
            self._end(self.now)
        group = self.now = self.now or self._started(needs, should_stop)
        try:
            yield group
        finally:
            if not group.idle:
                self._end(group)

    def _end(self, group: RayGroup) -> None:
        self.now = None
        group.end()

    def _started(self, needs: dict[str, float], should_stop: Callable[[], bool]) -> RayGroup:
        bundles = placement_group([{name: amount for name, amount in needs.items() if amount}] * self._workers, "PACK")
        try:
            ready = bundles.ready()
            while not ray.wait([ready], timeout=LOOK_SECONDS)[0]:
                if room(needs) < self._workers:
                    raise TrainingError(too_small(room(needs), self._workers, needs))
                if should_stop():
                    raise StoppedError("stopped by the user")
            actors = [
                self._actor.options(
                    num_cpus=needs["CPU"],
                    num_gpus=needs["GPU"],
                    scheduling_strategy=PlacementGroupSchedulingStrategy(bundles, rank),
                ).remote()
                for rank in range(self._workers)
            ]
            group = RayGroup(actors, needs, self._shipped, bundles)
            group.gather()
        except BaseException:
            remove_placement_group(bundles)  # and with it the actors
            raise
        return group


def too_small(places: int, workers: int, needs: dict[str, float]) -> str:
    """Say that a cluster has too few resources for so many workers, and what to do."""
    each = " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
    return (
        f"the cluster has room for {places} workers with {each} each, not {workers}: lower --workers or "
        f"machine.threads, or add a node"
    )
