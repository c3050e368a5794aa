"""The option `--ray`: the cluster that it names, joined or started, and how many runs it has room for."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from core.sweeps.remote.address import LOCAL, require_reachable

if TYPE_CHECKING:
    from core.sweeps.remote.ray_cluster import Cluster

Ray = Annotated[
    str | None,
    typer.Option(metavar="[HOST:PORT]", help="Train on this Ray cluster, or on one started on this machine."),
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
