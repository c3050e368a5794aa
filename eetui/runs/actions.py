"""What can be done to a single run of the list: one method for each key."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import StoreError
from core.session.names import require_name, require_plain, require_tag
from core.state import LIVE
from core.store.files import checkpoint_folder
from core.store.reader import Query
from eetui.console.dialogs import Prompt, Question
from eetui.runs.deletions import Deletions

if TYPE_CHECKING:
    from core.store.writer import Writer
    from eetui.app import Bench

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunActions:
    """Asks where something has to be asked, writes, and calls `changed` once something was written."""

    bench: "Bench"
    changed: Callable[[], object]
    deletions: Deletions = field(default_factory=Deletions)

    def rename(self, row: Row) -> None:
        """Ask for another name."""

        def check(name: str) -> None:
            require_name("the name", name)
            taken = self.bench.reader.runs(Query("name = ? AND id <> ?", (name, row["id"]), limit=1))
            if taken:
                raise StoreError(f"the name {name!r} is taken by run {taken[0]['id']}: choose another")

        def rename(name: str | None) -> None:
            if name is not None and name != row["name"]:
                self._write(lambda writer: writer.rename(row["id"], name))

        self.bench.push_screen(Prompt(f"New name of {row['name']} (run {row['id']})", row["name"], check), rename)

    def tag(self, row: Row) -> None:
        """Ask for the tags, all of them."""
        before = self.bench.reader.run(row["id"])["tags"]

        def check(text: str) -> None:
            for word in text.split():
                require_tag("a tag", word)

        def tag(text: str | None) -> None:
            if text is not None:
                self._write(lambda writer: _set_tags(writer, row["id"], before, text.split()))

        question = f"Tags of {row['name']} (run {row['id']}), separated by spaces"
        self.bench.push_screen(Prompt(question, " ".join(before), check), tag)

    def note(self, row: Row) -> None:
        """Ask for a note to add."""

        def note(text: str | None) -> None:
            if text is not None:
                self._write(lambda writer: writer.note(row["id"], text.strip()))

        question = f"Note on {row['name']} (run {row['id']})"
        self.bench.push_screen(Prompt(question, check=lambda text: require_plain("the note", text)), note)

    def inspect(self, row: Row) -> None:
        """Look into a finished run."""
        if row["status"] == "finished":
            self.bench.open_inspect(row["id"])
        else:
            self._say(f"{row['name']} is {row['status']}: only a finished run can be inspected")

    def generate(self, row: Row) -> None:
        """Let a finished run write, if its weights are there."""
        folder = checkpoint_folder(self.bench.database, row["id"])
        if row["status"] != "finished":
            self._say(f"{row['name']} is {row['status']}: only a finished run can write")
        elif not any(folder.glob("*.safetensors")):
            self._say(f"{row['name']} can't write: its weights are not in {folder}; train it again (y copies how)")
        else:
            self.bench.open_generate(row["id"])

    def cancel(self, row: Row) -> None:
        """Stop a run of this console, or say where it has to be stopped."""
        now = self.bench.trainer.snapshot
        if row["status"] not in LIVE:
            self._say(f"{row['name']} is {row['status']}: there is nothing to cancel")
        elif row["id"] == now.run or row["id"] in now.queue:
            self.bench.attempt(lambda: self.bench.trainer.cancel(row["id"]))
            ends = "stops after this step; r resumes it" if row["id"] == now.run else "is out of the queue"
            self._say(f"{row['name']} {ends}")
        else:
            there = self.bench.reader.run(row["id"])
            self._say(
                f"{row['name']} belongs to process {there['pid']} on {there['host']}: stop it there, "
                f"with kill -INT {there['pid']}"
            )

    def resume(self, row: Row) -> None:
        """Let a run go on that did not finish."""
        if row["status"] in ("interrupted", "failed"):
            self.bench.resume_runs([row["id"]])
            self._say(f"{row['name']} is queued to go on")
        else:
            self._say(f"{row['name']} is {row['status']}: only interrupted and failed runs can be resumed")

    def copy_command(self, row: Row) -> None:
        """Copy the command that launches the run."""
        from eetui.summary.launch_command import launch_command, recorded_command

        whole = self.bench.reader.run(row["id"])
        self.bench.copy(recorded_command(whole) or launch_command(whole))

    def export(self, query: Query) -> None:
        """Ask for a format, and write the list to a file."""
        from eetui.console.export import export
        from eetui.runs.export_text import FORMATS

        def write(answer: str | None) -> None:
            if answer is not None:
                self.bench.attempt(lambda: self._say(f"exported to {export(f'runs.{answer}', text(answer))}"))

        def text(answer: str) -> str:
            return FORMATS[answer](self.bench.reader.runs(query))

        number = self.bench.reader.count(query)
        self.bench.push_screen(Question(f"Export {_runs(number)} as", list(FORMATS)), write)

    def compare_experiment(self, row: Row) -> None:
        """Put the runs of its experiment side by side."""
        query = self.deletions.hide(Query("experiment = ?", (row["experiment"],)))
        self.bench.open_compare([each["id"] for each in self.bench.reader.runs(query)])

    def delete_later(self, runs: Sequence[int]) -> None:
        """Leave runs out of the list, those that are live aside, until they are deleted or brought back."""
        live = self._live_ones(runs)
        if live:
            names = ", ".join(live.values())
            self.bench.notify(f"{names} can't be deleted while live: x cancels", severity="warning", markup=False)
        doomed = [run for run in runs if run not in live]
        if doomed:
            self.deletions.add(doomed)
            for run in doomed:
                self.bench.marked.pop(run, None)
            self.changed()

    def close_books(self) -> None:
        """Mark what is live in name only, its process being gone, as interrupted: opening for writing does."""

        def open_for_writing() -> None:
            with self.bench.writing():
                pass

        if self.bench.reader.count(Query(f"status IN {LIVE}")):
            self.bench.run_worker(open_for_writing, thread=True, group="books", exit_on_error=False)

    def _live_ones(self, runs: Sequence[int]) -> dict[int, str]:
        """Those that are queued or running, by number, with their names."""
        query = Query(f"id IN (SELECT value FROM json_each(?)) AND status IN {LIVE}", (json.dumps(list(runs)),))
        return {row["id"]: row["name"] for row in self.bench.reader.runs(query)}

    def delete(self, runs: Sequence[int]) -> None:
        """Delete for good, those that are live by now aside."""

        def delete(writer: "Writer") -> None:
            live = self._live_ones(runs)
            for run in runs:
                if run not in live:
                    writer.delete(run)

        self._write(delete)

    def _write(self, work: Callable[["Writer"], object]) -> None:
        def write() -> None:
            with self.bench.writing() as writer:
                work(writer)

        if self.bench.attempt(write):
            self.changed()

    def _say(self, text: str) -> None:
        self.bench.notify(text, markup=False)


def _set_tags(writer: "Writer", run: int, before: Sequence[str], after: Sequence[str]) -> None:
    writer.untag(run, [tag for tag in before if tag not in after])
    writer.tag(run, [tag for tag in after if tag not in before])


def _runs(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'}"
