"""Command doctor: how the machine, the database and the weights beside it are, and recovery of a damaged database."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.options import AsJson, Database, print_data
from eetui.drawing.figures import number_of
from eetui.drawing.formats import json_text

if TYPE_CHECKING:
    from core.store.checkup import Finding

WIDTH = 12


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Save what can be read of a damaged database in a new one.")
    ] = False,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Check versions, machine, database, checkpoints and cached states; nothing is changed."""
    if repair:
        _repair(db)
        return
    findings = []
    for finding in _findings(db):
        findings.append(finding)
        if not as_json:
            print(f"{'' if finding.sound else '! '}{finding.subject}".ljust(WIDTH), finding.text)
    if as_json:
        print_data(json_text([asdict(one) for one in findings]))
    problems = sum(not finding.sound for finding in findings)
    if problems:
        print(f"{number_of(problems, 'problem')} found", file=sys.stderr)
        raise typer.Exit(1)


def _findings(db: Path) -> "Iterator[Finding]":
    from core.store.checkup import check_database
    from eetui.summary.surroundings import has_torch, surroundings

    yield from surroundings(db)
    yield from check_database(db)
    if has_torch():
        from core.session.checkup import check_checkpoints, check_stages, check_states

        yield from check_checkpoints(db)
        yield from check_states()
        yield from check_stages(db)


def _repair(db: Path) -> None:
    from core.store.recovery import recover

    if not db.exists():
        raise UsageError(f"there is no database {db}: name one with --db")
    found = recover(db)
    print(f"{db} is left as it is; what can be read of it is in {found.target}")
    for table, rows in found.saved.items():
        lost = [f"{found.dropped[table]} left out as damaged"] if table in found.dropped else []
        lost += ["others can't be read"] if table in found.unreadable else []
        print(f"{table.replace('_', ' '):17} {rows:>9,} rows saved{'; ' if lost else ''}{', '.join(lost)}")
    print(f"to use it: eetui ls --db {found.target}")
