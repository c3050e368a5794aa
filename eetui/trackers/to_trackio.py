"""Runs for Trackio, on this machine: `TRACKIO_DIR=FOLDER trackio show --project eetui` shows them."""

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eetui.trackers.contract import PROJECT, Cell, Ending, TrackedRun
from eetui.trackers.names import place_name

if find_spec("trackio") is None:
    raise ImportError("No module named 'trackio'")


class Trackio:
    """A run of the project `eetui`. Trackio has one folder a process, that of the first run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["TRACKIO_DIR"] = str(folder.resolve())  # read when it is imported

    def start(self, run: TrackedRun) -> None:
        """Begin the run, and delete the one of an earlier export."""
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._trackio = trackio
        name = place_name(run)
        if name in SQLiteStorage.get_runs(PROJECT):
            SQLiteStorage.delete_run(PROJECT, name)
        config = {**run.params, **{f"tag.{key}": value for key, value in run.tags.items()}, "tags": list(run.labels)}
        with redirect_stdout(io.StringIO()):  # it advertises
            self._run: Any = trackio.init(
                PROJECT, name=name, group=run.tags.get("experiment"), config=config, embed=False, auto_log_gpu=False,
                auto_log_cpu=False,
            )  # fmt: skip

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write metrics."""
        self._run.log(dict(values), step=step)

    def summary(self, values: Mapping[str, float], time: float) -> None:
        """Write the figures of the whole run as metrics `final/…` at step 0."""
        self._run.log({f"final/{name}": value for name, value in values.items()}, step=0)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], time: float) -> None:
        """Write a table."""
        import pandas

        self._run.log(
            {f"tables/{name}": self._trackio.Table(dataframe=pandas.DataFrame(rows, columns=columns))}, step=0
        )

    def flush(self) -> None:
        """Do nothing: a thread of its own writes."""

    def end(self, ending: Ending, time: float) -> None:
        """End the run."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()


new = Trackio
