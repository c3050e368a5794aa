"""Actions on runs of the list, one method per key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import StoreError
from core.session.names import require_name, require_plain, require_tag
from core.store.reader import Query
from eetui.console.dialogs import Prompt, Question
from eetui.console.run_actions import Row, RunActions
from eetui.drawing.figures import number_of
from eetui.runs.deletions import Deletions

if TYPE_CHECKING:
    from core.store.writer import Writer


@dataclass(frozen=True)
class ListActions(RunActions):
    """Actions of the list; some ask first, and all that write call `changed` afterwards."""

    changed: Callable[[], object]
    deletions: Deletions

    def rename(self, row: Row) -> None:
        """Ask for a new name."""

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
        """Ask for the whole set of tags."""
        with self.bench.reader.exactly() as reader:
            before = reader.run(row["id"])["tags"]

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

    def export(self, query: Query) -> None:
        """Ask for a format and write the list to a file."""
        from eetui.runs.export_text import FORMATS

        def write(answer: str | None) -> None:
            if answer is not None:
                self.bench.export(f"runs.{answer}", lambda: text(answer))

        def text(answer: str) -> str:
            with self.bench.reader.exactly() as reader:
                return FORMATS[answer](reader.runs(query))

        number = self.bench.reader.count(query)
        self.bench.push_screen(Question(f"Export {number_of(number, 'run')} as", list(FORMATS)), write)

    def delete(self, runs: Sequence[int]) -> None:
        """Move runs, except live ones, into the bin."""
        live = self._live_ones(runs)
        if live:
            names = ", ".join(live.values())
            self.bench.notify(f"{names} can't be deleted while live: x cancels", severity="warning", markup=False)
        doomed = [run for run in runs if run not in live]
        if doomed and self._write(lambda writer: writer.discard(doomed)):
            self.deletions.add(doomed)
            for run in doomed:
                self.bench.marked.pop(run, None)

    def undo(self) -> None:
        """Restore what was deleted last, as far as it still is in the bin."""
        last = self.deletions.undo()
        marks = ", ".join("?" * len(last))
        there = self.bench.reader.runs(Query(f"id IN ({marks})", last, deleted=True), ("id",))
        runs = [row["id"] for row in there]
        if runs and not self._write(lambda writer: writer.restore(runs)):
            self.deletions.add(runs)

    def close_books(self) -> None:
        """Mark live runs whose process is gone as interrupted, which opening the store for writing does."""

        def open_for_writing() -> None:
            with self.bench.writing():
                pass

        if not self.bench.read_only and self.bench.reader.gone():
            self.bench.run_worker(open_for_writing, thread=True, group="books", exit_on_error=False)

    def _live_ones(self, runs: Sequence[int]) -> dict[int, str]:
        """Return the names of those runs that are queued or running, by number."""
        return {row["id"]: row["name"] for row in self.bench.reader.live() if row["id"] in runs}

    def _write(self, work: Callable[["Writer"], object]) -> bool:
        """Return whether it could be written; if not, the reason is shown."""

        def write() -> None:
            with self.bench.writing() as writer:
                work(writer)

        written = self.bench.attempt(write)
        if written:
            self.changed()
        return written


def _set_tags(writer: "Writer", run: int, before: Sequence[str], after: Sequence[str]) -> None:
    writer.untag(run, [tag for tag in before if tag not in after])
    writer.tag(run, [tag for tag in after if tag not in before])
