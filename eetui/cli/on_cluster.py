"""The option `--ray`: the cluster that it names, joined or started, the room that it has, and runs of its own on it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from core.sweeps.remote.address import LOCAL, require_reachable

if TYPE_CHECKING:
    from core.config.run_config import Layer
    from core.session.run import Training
    from core.sweeps.remote.ray_cluster import Cluster
    from eetui.console.training_thread import Request
    from eetui.trackers.contract import Trackers

Ray = Annotated[
    str | None,
    typer.Option(metavar="[HOST:PORT]", help="Train on this Ray cluster, or on one started on this machine."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="With --ray: processes that train each run together, data parallel."),
]
MOST_SLOTS = 256
"""Runs at once on a cluster; each has a thread in this process."""


def with_ray_address(words: list[str]) -> list[str]:
    """Give `--ray` the address `local` where no word follows that could be one."""
    found = list[str]()
    for word, after in zip(words, [*words[1:], "-"], strict=False):
        found.append(f"--ray={LOCAL}" if word == "--ray" and after.startswith("-") else word)
    return found


@contextmanager
def reaching(ray: str | None) -> "Iterator[Cluster | None]":
    """Join or start the Ray cluster that `--ray` names, if it does, while the block runs.

    Raises:
        UsageError: it can't be reached, or Ray is not installed.
    """
    if ray is None:
        yield None
        return
    if find_spec("ray") is None:
        raise UsageError("--ray needs Ray: pip install 'eetui[ray]'")
    require_reachable(ray)
    from core.sweeps.remote.ray_cluster import cluster

    with cluster(ray) as found:
        yield found


def slots_for(db: Path, number: int, cluster: "Cluster") -> int:
    """Return how many runs of a sweep a cluster has room for at once, by what the first of them needs."""
    from core.store.reader import Reader
    from core.store.stored_sweeps import cells_of

    with Reader(db) as reader:
        cells = cells_of(reader, number)
        machine: dict[str, Any] = reader.run(cells[0]["id"])["config"]["machine"] if cells else {}  # as in a search
    room = cluster.slots(machine.get("threads") or 1, gpu=str(machine.get("device")).startswith("cuda"))
    return max(1, min(room, MOST_SLOTS))


def one_thread() -> "Layer":
    """Return the config of a process on a cluster, where nothing else says how many threads it has."""
    from core.config.run_config import Layer

    return Layer("--ray", {"machine.threads": 1})


def train_on_cluster(
    request: "Request",
    db: Path,
    ray: str,
    workers: int,
    machine: Mapping[str, Any],
    *,
    as_json: bool = False,
    mirrors: "Trackers" = (),
) -> int:
    """Train the requested runs on a cluster, each in so many processes together; return the exit code.

    Args:
        machine: the section of the first run's config.
        mirrors: as in `train_headless`.

    Raises:
        UsageError: the cluster can't be reached, or has too little room; nothing is stored.
    """
    from eetui.cli.headless import train_headless

    with reaching(ray) as cluster:
        assert cluster is not None
        training = _training(cluster, workers, machine)
        return train_headless(request, db, as_json=as_json, mirrors=mirrors, training=training)


def _training(cluster: "Cluster", workers: int, machine: Mapping[str, Any]) -> "Training":
    """Return what trains runs on a cluster, in so many processes together.

    Raises:
        UsageError: it has too little room for them.
    """
    from core.sweeps.remote.ray_cluster import needs_of, room
    from core.sweeps.remote.ray_group import Groups, too_small
    from core.sweeps.remote.training import RemoteTraining

    needs = needs_of(machine.get("threads") or 1, gpu=str(machine.get("device")).startswith("cuda"))
    if (places := room(needs)) < workers:
        raise UsageError(too_small(places, workers, needs))
    return RemoteTraining(cluster) if workers == 1 else RemoteTraining(Groups(workers), again=False)
