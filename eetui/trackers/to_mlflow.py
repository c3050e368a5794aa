"""Runs for MLflow, in an SQLite store: `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db` shows them."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import sleep

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sqlalchemy  # noqa: F401 -- the store needs it, and mlflow-skinny comes without
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

from core.store.lock import holding
from eetui.drawing.formats import csv_text
from eetui.trackers.contract import Cell, Ending, TrackedRun

EXPERIMENT = "eetui"
KEY = "eetui.key"
MOST = 1000
"""Metrics of a batch, and characters of a value beyond which MLflow takes none."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """A run of the experiment `eetui`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._artifacts = folder, (folder / "artifacts").resolve().as_uri()
        self._waiting: list[Metric] = []
        for name in ("mlflow", "alembic"):  # they tell how they make their tables
            logging.getLogger(name).setLevel(logging.WARNING)
        with _quiet(), _turn(folder):
            self._client = MlflowClient(tracking_uri=f"sqlite:///{(folder / 'mlflow.db').resolve()}")

    def start(self, run: TrackedRun) -> None:
        """Begin the run, and delete the one of an earlier export."""
        with _quiet():
            with _turn(self._folder):
                found = self._client.get_experiment_by_name(EXPERIMENT)
                experiment = (
                    found.experiment_id if found else self._client.create_experiment(EXPERIMENT, self._artifacts)
                )
            for old in self._client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'"):
                self._client.delete_run(old.info.run_id)
            made = self._client.create_run(experiment, start_time=_milliseconds(run.created), run_name=run.name)
            self._run = made.info.run_id
            labels = {f"tag.{label}"[:250]: "true" for label in run.labels if _is_name(label)}
            labels |= {"tags": " ".join(run.labels)} if run.labels else {}  # those that can't be a name, too
            tags = [RunTag(name, value[:MOST]) for name, value in {KEY: run.key, **run.tags, **labels}.items()]
            params = [Param(name, str(value)[:MOST]) for name, value in run.params.items()]
            self._client.log_batch(self._run, params=params[:100], tags=tags[:100])
            for start in range(100, len(params), 100):
                self._client.log_batch(self._run, params=params[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Write metrics, batches of `MOST` at once."""
        self._waiting += (Metric(name, value, _milliseconds(time), step) for name, value in values.items())
        if len(self._waiting) >= MOST:
            self.flush()

    def summary(self, values: Mapping[str, float], time: float) -> None:
        """Write the figures of the whole run as metrics of their names."""
        self.metrics(values, 0, time)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], time: float) -> None:
        """Write a table as an artifact, `NAME.csv`."""
        with _quiet():
            self._client.log_text(self._run, csv_text([columns, *rows]), f"{name}.csv")

    def flush(self) -> None:
        """Write what waits."""
        with _quiet():
            for start in range(0, len(self._waiting), MOST):
                self._client.log_batch(self._run, metrics=self._waiting[start : start + MOST])
        self._waiting = []

    def end(self, ending: Ending, time: float) -> None:
        """Set the run's status."""
        self.flush()
        with _quiet():
            self._client.set_terminated(self._run, STATUS[ending], _milliseconds(time))


def _turn(folder: Path) -> AbstractContextManager[None]:
    """Hold a folder while its tables or its experiment are made, which several processes may begin at once."""
    return holding(folder / "eetui.turn", lambda holder: sleep(0.05))


def _is_name(label: str) -> bool:
    """Tell whether MLflow takes a text as part of a name."""
    return bool(label) and all(one.isalnum() or one in "_-. :/" for one in label) and ".." not in label


def _milliseconds(time: float) -> int:
    return round(time * 1000)


def _quiet() -> AbstractContextManager[None]:
    """Keep the warnings of MLflow's own dependencies from the user."""
    return warnings.catch_warnings(action="ignore")


new = MLflow
