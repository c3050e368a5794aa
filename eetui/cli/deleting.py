"""Commands that delete runs, and bring them back."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RunLookupError, UsageError
from eetui.cli.options import Database, Yes
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from core.store.reader import Reader

WholeReferences = Annotated[list[str], typer.Argument(metavar="RUN...", help="Numbers or whole names.")]


def remove(
    references: WholeReferences,
    yes: Yes = False,
    for_good: Annotated[
        bool, typer.Option("--for-good", help="Make room now, also of what was deleted before; can't be undone.")
    ] = False,
    *,
    db: Database,
) -> None:
    """Delete runs with their events, results and weights; for 30 days eetui restore brings them back."""
    from core.store.bin import KEPT_DAYS
    from core.store.writer import Writer
    from eetui.summary.shown_reader import ShownReader

    with ShownReader(db) as reader:
        runs = dict(_named(reader, reference, deleted=for_good) for reference in references)
    with Writer(db) as writer:  # opening it closes the books of runs whose process is gone
        with ShownReader(db) as reader:
            busy = [row["name"] for row in reader.live() if row["id"] in runs]
        if busy:
            raise UsageError(f"{', '.join(busy)} is still running: stop it first, then delete it")
        if not yes:
            confirm(_list(runs), " for good" if for_good else "")
        if for_good:
            for run in runs:
                writer.delete(run)
        else:
            writer.discard([*runs])
    numbers = " ".join(str(run) for run in runs)
    back = "for good" if for_good else f"(for {KEPT_DAYS} days, eetui restore {numbers} brings back what it was)"
    print(f"deleted {_list(runs)} {back}", file=sys.stderr)


def confirm(doomed: str, how: str = "") -> None:
    """Ask whether something is to be deleted, and end the command if not.

    Raises:
        UsageError: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"nothing was deleted, as nobody can be asked: confirm with --yes, for {doomed}")
    typer.confirm(f"Delete {doomed}{how}?", abort=True, err=True)


def restore(
    references: WholeReferences,
    *,
    db: Database,
) -> None:
    """Bring back runs that were deleted in the last 30 days; eetui ls --deleted lists them."""
    from core.store.reader import Reader
    from core.store.writer import Writer

    with Reader(db) as reader:
        runs = list(dict.fromkeys(reader.find_deleted(reference) for reference in references))
    with Writer(db) as writer:
        names = writer.restore(runs)
    print(f"restored {_list(dict(zip(runs, names, strict=True)))}", file=sys.stderr)


def _named(reader: "Reader", reference: str, *, deleted: bool) -> tuple[int, str]:
    """Number and name of a run, or else, if those count, of a deleted one.

    Raises:
        RunLookupError: there is none.
    """
    from core.store.reader import Query

    try:
        run, there = reader.find_whole(reference), False
    except RunLookupError:
        if not deleted:
            raise
        run, there = reader.find_deleted(reference), True
    return run, str(reader.runs(Query("id = ?", (run,), deleted=there), ("name",))[0]["name"])


def _list(runs: Mapping[int, str]) -> str:
    return ", ".join(f"{one_line(name)} (run {run})" for run, name in runs.items())
