"""Runs for Weights & Biases, offline: `wandb sync FOLDER/wandb/offline-run-…` uploads one, if you want to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from eetui.trackers.contract import PROJECT, Cell, Ending, TrackedRun
from eetui.trackers.names import digest

LONGEST_TAG = 64
"""Characters of a tag, beyond which it is refused."""


class WandB:
    """A run of the project `eetui`, with the same id whenever it is written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._stages = folder, set[str]()

    def start(self, run: TrackedRun) -> None:
        """Begin the run."""
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
            x_disable_meta=True,
        )  # fmt: skip
        self._run: Any = wandb.init(
            project=PROJECT, name=run.name[:128], id=digest(run), mode="offline",
            dir=str(self._folder), config={**run.params, "eetui": dict(run.tags)}, group=run.tags.get("experiment"),
            tags=[label[:LONGEST_TAG] for label in run.labels if label], reinit="create_new", settings=settings,
        )  # fmt: skip

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write metrics over the steps of their stage."""
        stage = next(iter(values)).partition("/")[0]
        if stage not in self._stages:
            self._stages.add(stage)
            escaped = stage.replace(".", r"\.")  # in a definition, unlike in what is logged, a dot is a nested key
            self._run.define_metric(f"{escaped}/step", hidden=True)
            self._run.define_metric(f"{escaped}/*", step_metric=f"{escaped}/step")
        self._run.log({**values, f"{stage}/step": step})

    def summary(self, values: Mapping[str, float], time: float) -> None:
        """Write the run's summary."""
        self._run.summary.update(dict(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], time: float) -> None:
        """Write a table."""
        self._run.log({f"tables/{name}": wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def flush(self) -> None:
        """Do nothing: a process of its own writes."""

    def end(self, ending: Ending, time: float) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if ending == "finished" else 1)


new = WandB
