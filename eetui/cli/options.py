"""What the commands have in common: options, and where their output goes."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def _default_database() -> Path:
    from eetui.console.settings import load_settings

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
WIDTH_OFF_TERMINAL = 200
CorpusText = Annotated[
    str | None,
    typer.Option("--corpus", help="A file, folder or glob, or a reader, such as hub:NAME or your own (--help-config)."),
]
EvaluationText = Annotated[
    str | None, typer.Option("--eval-corpus", help="Text to evaluate on. [default: the corpus's tail]")
]
NoUi = Annotated[bool, typer.Option("--no-ui", help="Train headless, without the console.")]


def output() -> Any:
    """Standard output; off a terminal no colour, and no line is broken for a width that is not there."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDTH_OFF_TERMINAL)


def output_shape() -> tuple[int, bool]:
    """The same without Rich, for output that it is too slow for: the width, and whether there may be colour."""
    if not sys.stdout.isatty():
        return WIDTH_OFF_TERMINAL, False
    return shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
