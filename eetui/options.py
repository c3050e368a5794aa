"""What the commands have in common: options, and where their output goes."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def _default_database() -> Path:
    from eetui.settings import load_settings

    return load_settings().db or Path("runs.db")


Database = Annotated[
    Path,
    typer.Option(
        "--db",
        envvar="EETUI_DB",
        help="The database of runs.",
        default_factory=_default_database,
        show_default="runs.db, or the settings file's",
        dir_okay=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoUi = Annotated[bool, typer.Option("--no-ui", help="Train headless, without the console.")]


def output() -> Any:
    """Standard output; off a terminal no colour, and no line is broken for a width that is not there."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)
