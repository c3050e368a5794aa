"""The tour of the console."""

import typer

from core.errors import UsageError
from eetui.cli.open_console import has_terminal, require_capable_terminal
from eetui.cli.options import Database


def tour(*, db: Database) -> None:
    """Show what the console can do, in five stops, on the runs of a database; nothing is changed."""
    if not has_terminal():
        raise UsageError("the tour needs a terminal; eetui ls lists the runs without")
    require_capable_terminal()
    from eetui.console.settings import load_settings
    from eetui.tour.app import run_tour

    raise typer.Exit(run_tour(db, load_settings()))
