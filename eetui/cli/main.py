"""The command line: its table of commands, its entry point, and its errors.

Modules that are slow to import are imported inside the command that needs them.
"""

import os
from collections.abc import Callable
from typing import Annotated

import typer

from core.errors import UsageError
from eetui import __version__
from eetui.cli import analyse, compare, deleting, runs, train
from eetui.cli.open_console import has_terminal, open_console
from eetui.cli.options import Database
from eetui.cli.streams import lasting

COMMANDS: dict[str, Callable[..., None]] = {
    "quality": analyse.quality,
    "calibrate": analyse.calibrate,
    "diagnose": analyse.diagnose,
    "ablate": compare.ablate,
    "generate": analyse.generate,
    "run": train.run,
    "resume": train.resume,
    "compare": compare.compare,
    "ls": runs.list_runs,
    "show": runs.show,
    "rm": deleting.remove,
    "restore": deleting.restore,
}
"""All commands, in the order of the help."""

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A lab bench in the terminal for early-exit language models.",
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point."""
    with lasting():
        app()


def _print_version(asked: bool) -> None:
    if asked:
        print(f"eetui {__version__}")
        raise typer.Exit


@app.callback()
def _console_or_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    *,
    db: Database,
) -> None:
    """Open the console if no command is given."""
    os.environ["EETUI_DB"] = str(db)  # default of the command's own --db
    if context.invoked_subcommand is None:
        if not has_terminal():
            raise UsageError("the console needs a terminal; eetui --help lists the commands that do without")
        raise typer.Exit(open_console(db))
