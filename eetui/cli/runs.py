"""Commands for stored runs: ls, show, rm."""

import sys
from typing import Annotated

import typer

from core.errors import UsageError
from eetui.cli.options import AsJson, Database, Reference, References, output, output_shape


def list_runs(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="method:loss 'ppl<900' tag:x status:failed text")
    ] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by, such as ppl, savings, created.")] = "id",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Largest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to list.")] = 1_000_000,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """List runs."""
    from dataclasses import replace

    from core.store.reader import Reader
    from eetui.runs.filters import parse
    from eetui.runs.list_text import SHOWN, runs_json, runs_lines

    query = replace(parse(words or [], sort, descending=reverse), limit=limit)
    with Reader(db) as reader:
        rows = reader.runs(query) if as_json else reader.runs(query, SHOWN)
    if as_json:
        print(runs_json(rows))
    else:
        width, colour = output_shape()
        print("\n".join(runs_lines(rows, width, colour=colour)))


def show(reference: Reference, as_json: AsJson = False, *, db: Database) -> None:
    """Show one run: results, training, config, and the record needed to reproduce it."""
    from core.store.reader import Reader
    from eetui.summary.details_text import run_details, run_json

    with Reader(db) as reader:
        number = reader.find(reference)
        row, state = reader.run(number), reader.state(number)
    if as_json:
        print(run_json(row, state))
    else:
        output().print(run_details(row, state))


def remove(
    references: References,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    *,
    db: Database,
) -> None:
    """Delete runs with their events and results."""
    from core.state import LIVE
    from core.store.reader import Reader
    from core.store.writer import Writer

    with Reader(db) as reader:
        rows = [reader.run(number) for number in dict.fromkeys(reader.find(reference) for reference in references)]
    with Writer(db) as writer:  # opening it marks runs whose process is gone as interrupted
        with Reader(db) as reader:
            busy = [row["name"] for row in rows if reader.run(row["id"])["status"] in LIVE]
        if busy:
            raise UsageError(f"{', '.join(busy)} is still running: stop it first, then delete it")
        names = ", ".join(f"{row['name']} (run {row['id']})" for row in rows)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"deleting {names} can't be undone: confirm with --yes")
            typer.confirm(f"Delete {names}?", abort=True, err=True)
        for row in rows:
            writer.delete(row["id"])
    print(f"deleted {names}", file=sys.stderr)
