"""Commands for stored runs: ls, show."""

from typing import Annotated

import typer

from eetui.cli.options import AsJson, Database, Reference, output, output_shape, reading


def list_runs(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="method:loss 'ppl<900' tag:x status:failed text")
    ] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by, such as ppl, savings, created.")] = "id",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Largest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to list.")] = 1_000_000,
    deleted: Annotated[bool, typer.Option("--deleted", help="List what eetui restore can bring back.")] = False,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """List runs."""
    from dataclasses import replace

    from core.store.reader import COLUMNS
    from eetui.runs.filters import parse
    from eetui.runs.list_text import SHOWN, runs_json, runs_lines

    query = replace(parse(words or [], sort, descending=reverse), limit=limit, deleted=deleted)
    more = ("deleted",) if deleted else ()
    with reading(db, exact=as_json) as reader:
        rows = reader.runs(query, (*COLUMNS, "tags", *more) if as_json else (*SHOWN, *more))
    if as_json:
        print(runs_json(rows))
    else:
        width, colour = output_shape()
        print("\n".join(runs_lines(rows, width, colour=colour)))


def show(reference: Reference, as_json: AsJson = False, *, db: Database) -> None:
    """Show one run: results, training, config, and the record needed to reproduce it."""
    from eetui.summary.details_text import run_details, run_json

    with reading(db, exact=as_json) as reader:
        number = reader.find(reference)
        row, state = reader.run(number), reader.state(number)
    if as_json:
        print(run_json(row, state))
    else:
        output().print(run_details(row, state))
