"""A Ray actor as the place where a run is trained."""

import hashlib
import pickle
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from core.data.windows import Dataset
from core.errors import TrainingError
from core.sweeps.remote.messages import Answer, Message, Over, Task
from core.sweeps.remote.node import installed
from core.sweeps.remote.trainer import Trainer
from core.sweeps.remote.training import LostPlaceError

FETCH_SECONDS = 2.0
"""Time after which a run that says nothing is asked again."""
STOP_SECONDS = 30.0
"""Time that a run has to end at its step."""
MOST_SHIPPED = 64
"""Datasets and stages that the object store keeps for other runs."""


class Shipped:
    """Datasets and finished stages in the object store, each once, by its content."""

    def __init__(self) -> None:
        self._refs: dict[str, Any] = {}
        self._named: tuple[Dataset, str] | None = None
        self._turn = threading.Lock()

    def name(self, dataset: Dataset) -> str:
        """Return the name of a dataset by all that is in it."""
        with self._turn:
            if self._named is None or self._named[0] is not dataset:
                self._named = dataset, hashlib.sha256(pickle.dumps(dataset)).hexdigest()
            return self._named[1]

    def ref(self, key: str, value: object) -> Any:
        """Return the reference to a value, which is put there if it is not there yet."""
        with self._turn:
            if key not in self._refs:
                self._refs[key] = ray.put(value)
            ref = self._refs[key] = self._refs.pop(key)  # the newest
            while len(self._refs) > MOST_SHIPPED:
                del self._refs[next(iter(self._refs))]
        return ref


class RayTrainer(Trainer):
    """A trainer in an actor."""

    def hello(self) -> dict[str, str]:
        """Say what is installed here, and where that is."""
        return installed() | {
            "address": ray.util.get_node_ip_address(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def begin_with(self, task: Task, key: str, refs: list[Any]) -> tuple[str, ...]:
        """Begin to train a run, with the dataset of a reference."""
        return self.begin(task, key, lambda: ray.get(refs[0]))


class RayPlace:
    """An actor that trains runs, and what it was given for it.

    Attributes:
        idle: whether it has ended its last run, so that it may take another.
    """

    def __init__(self, actor: Any, needs: Mapping[str, float], shipped: Shipped) -> None:
        self.actor, self.needs, self._shipped = actor, needs, shipped
        self.hello = actor.hello.remote()
        self.facts: dict[str, str] = {}
        self.idle = True

    @property
    def name(self) -> str:
        """Return the node that it is on."""
        if not self.facts:
            return "a new process of the cluster"
        return f"node {self.facts['address']} ({self.facts['host']})"

    @property
    def node(self) -> str:
        """Return Ray's name of the node that it is on; empty before it has said so."""
        return self.facts.get("node", "")

    def greet(self) -> dict[str, str]:
        """Return what is installed there, once it has said so."""
        self.facts = self._get(self.hello)
        return self.facts

    def begin(self, task: Task, dataset: Dataset) -> tuple[str, ...]:
        """Begin to train a run."""
        key = self._shipped.name(dataset)
        self.idle = False
        found: tuple[str, ...] = self._call("begin_with", task, key, [self._shipped.ref(key, dataset)])
        return found

    def fetch(self) -> list[Message]:
        """Return what the run has said since the last call."""
        found: list[Message] = self._call("fetch", FETCH_SECONDS)
        if found and isinstance(last := found[-1], Over):
            self.idle = last.error is None or isinstance(last.error, TrainingError)
        return found

    def answer(self, answer: Answer, key: str | None) -> None:
        """Give the run its turn; a finished stage that others share goes through the object store once."""
        shared = key is not None and answer.kept is not None
        self._call("answer", self._shipped.ref(key, answer) if key is not None and shared else answer)

    def stop(self) -> list[Message]:
        """End the run at its step."""
        left: list[Message]
        left, self.idle = self._call("stop", STOP_SECONDS)
        return left

    def end(self) -> None:
        """End the actor; its resources are free for others."""
        ray.kill(self.actor)

    def _call(self, method: str, *arguments: object) -> Any:
        return self._get(getattr(self.actor, method).remote(*arguments))

    def _get(self, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except RayTaskError:  # a bug, there as here
            raise
        except RayError as error:
            self.idle = False
            reason = str(error).strip().partition("\n")[0]
            raise LostPlaceError(f"{self.name} is lost ({reason})") from error
