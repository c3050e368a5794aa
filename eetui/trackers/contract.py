"""What a tracker does, and the table of those there are."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from core.errors import UsageError

Ending = Literal["finished", "failed", "interrupted"]
Cell = str | float | int | None


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    Attributes:
        key: what tells the run from every other one, the same whenever it is written: a tracker replaces what it has.
        created: when it was created, in seconds since 1970.
        params: the config by dotted names.
        tags: facts that runs are grouped by: method, seed, preset, number, experiment.
        labels: tags that the user gave.
    """

    key: str
    name: str
    number: int
    created: float
    params: Mapping[str, str | int | float | bool]
    tags: Mapping[str, str]
    labels: tuple[str, ...]


class Tracker(Protocol):
    """One run in a tracker, written to a folder and to nowhere else: `start`, then anything else, then `end`."""

    def start(self, run: TrackedRun) -> None:
        """Begin the run with its params and tags, in place of what there is of it."""

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write figures at a step of their stage; the part of a name before `/` is the stage."""

    def summary(self, values: Mapping[str, float], time: float) -> None:
        """Write figures of the whole run."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], time: float) -> None:
        """Write a table."""

    def flush(self) -> None:
        """Bring what is written so far to where a viewer finds it."""

    def end(self, ending: Ending, time: float) -> None:
        """End the run."""


Trackers = Sequence[tuple[str, Callable[[], Tracker]]]
"""Trackers, each by its name and folder as `--mirror` takes them, and what makes one for a run."""
PROJECT = "eetui"
"""What runs are filed under where a tracker has projects."""
SHOWN_BY = {
    "tensorboard": "tensorboard --logdir {}",
    "mlflow": "mlflow ui --backend-store-uri sqlite:///{}/mlflow.db (pip install mlflow: the extra has no viewer)",
    "wandb": "wandb sync --sync-all in {}, which uploads them",
    "trackio": f"TRACKIO_DIR={{}} trackio show --project {PROJECT}",
}
"""The trackers, and what shows a folder of each. Each has a module here, `to_NAME`, and an extra of its name."""


def tracker(name: str, folder: Path) -> Callable[[], Tracker]:
    """Return what makes a tracker for one run, which writes to a folder.

    Raises:
        UsageError: there is no such tracker, or it is not installed.
    """
    if name not in SHOWN_BY:
        raise UsageError(f"there is no tracker {name!r}: take one of {', '.join(SHOWN_BY)}")
    try:
        module = importlib.import_module(f"eetui.trackers.to_{name}")
    except ImportError as error:
        raise UsageError(f"{name} is not installed ({error}): pip install 'eetui[{name}]'") from error
    return lambda: cast(Tracker, module.new(folder))
