"""Actions on a run, for any screen that shows one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.config.stored import is_imported
from core.extensions.imported import no_model
from core.state import LIVE
from core.store.files import checkpoint_folder
from core.store.reader import Query
from eetui.console.bench import Bench

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunActions:
    """One method per key; an action that the run's status does not allow shows the reason instead."""

    bench: Bench

    def inspect(self, row: Row) -> None:
        """Open a finished run in Inspect."""
        if row["status"] == "finished":
            self.bench.open("inspect", row["id"])
        else:
            self.bench.say(f"{row['name']} is {row['status']}: only a finished run can be inspected")

    def generate(self, row: Row) -> None:
        """Open a finished run in Generate, if its weights are there."""
        folder = checkpoint_folder(self.bench.database, row["id"])
        if row["status"] != "finished":
            self.bench.say(f"{row['name']} is {row['status']}: only a finished run can write")
        elif is_imported(self.bench.reader.run(row["id"])):
            self.bench.say(no_model(str(row["name"]), "write"))
        elif not any(folder.glob("*.safetensors")):
            self.bench.say(f"{row['name']} can't write: its weights are not in {folder}; train it again (y copies how)")
        else:
            self.bench.open("generate", row["id"])

    def cancel(self, row: Row) -> None:
        """Stop a run of this console, or say where to stop it."""
        now = self.bench.trainer.snapshot
        if row["status"] not in LIVE:
            self.bench.say(f"{row['name']} is {row['status']}: there is nothing to cancel")
        elif row["id"] == now.run or row["id"] in now.queue:
            self.bench.attempt(lambda: self.bench.trainer.cancel(row["id"]))
            ends = "stops after this step; r resumes it" if row["id"] == now.run else "is out of the queue"
            self.bench.say(f"{row['name']} {ends}")
        else:
            there = self.bench.reader.run(row["id"])
            self.bench.say(
                f"{row['name']} belongs to process {there['pid']} on {there['host']}: stop it there, "
                f"with kill -INT {there['pid']}"
            )

    def resume(self, row: Row) -> None:
        """Resume a run that did not finish."""
        if row["status"] in ("interrupted", "failed"):
            if self.bench.resume_runs([row["id"]]):
                self.bench.say(f"{row['name']} is queued to go on")
        else:
            self.bench.say(f"{row['name']} is {row['status']}: only interrupted and failed runs can be resumed")

    def copy_command(self, row: Row) -> None:
        """Copy the command that launches the run."""
        from eetui.summary.launch_command import launch_command, recorded_command

        whole = self.bench.reader.run(row["id"])
        self.bench.copy(recorded_command(whole) or launch_command(whole))

    def compare_experiment(self, row: Row) -> None:
        """Compare the runs of its experiment."""
        self.bench.open("compare", *(each["id"] for each in self.bench.reader.runs(self._experiment(row))))

    def _experiment(self, row: Row) -> Query:
        return Query("experiment = ?", (row["experiment"],))
