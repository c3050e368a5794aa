"""The command line: its table of commands, its entry point, and its errors.

Modules that are slow to import are imported inside the command that needs them.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from core.errors import UsageError
from core.machine.interruptible import is_work_left
from eetui import __version__
from eetui.cli.groups import commands_at
from eetui.cli.options import Database, MirrorTo, trackers_of
from eetui.cli.streams import NobodyReadsError, lasting

COMMANDS = {
    "quality": "analyse:quality",
    "calibrate": "analyse:calibrate",
    "diagnose": "analyse:diagnose",
    "ablate": "compare:ablate",
    "generate": "generate:generate",
    "speculate": "speculate:speculate",
    "probe": "probe:probe",
    "run": "train:run",
    "resume": "train:resume",
    "work": "queue:work",
    "compare": "compare:compare",
    "plot": "plot:plot",
    "report": "report:report",
    "ls": "runs:list_runs",
    "show": "runs:show",
    "export": "export:export",
    "sql": "sql:sql",
    "import": "importing:import_tokens",
    "lm-eval": "harness:lm_eval",
    "rm": "deleting:remove",
    "restore": "deleting:restore",
    "doctor": "doctor:doctor",
    "tour": "tour:tour",
    "serve": "serving:serve",
    "sweep": "sweep:SWEEP",
    "queue": "queue:QUEUE",
}
"""Where each command is, in the order of the help."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"eetui {__version__}")
        raise typer.Exit


def _console_or_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Open a console that watches runs: it trains and changes nothing.")
    ] = False,
    mirror: MirrorTo = None,
    *,
    db: Database,
) -> None:
    """Open the console if no command is given."""
    os.environ["EETUI_DB"] = str(db)  # default of the command's own --db
    if context.invoked_subcommand is None:
        from eetui.cli.open_console import has_terminal, open_console

        if not has_terminal():
            raise UsageError("the console needs a terminal; eetui --help lists the commands that do without")
        if read_only and mirror:
            raise UsageError("--mirror tells of what is trained, and with --read-only nothing is: leave one out")
        mirrors = () if read_only else trackers_of(mirror)
        raise typer.Exit(open_console(db, read_only=read_only, mirrors=mirrors))
    if mirror:
        raise UsageError(f"--mirror is for the console: write it after {context.invoked_subcommand}, if that trains")
    if read_only:
        raise UsageError(f"--read-only is for the console: leave out {context.invoked_subcommand}, or the option")


app = commands_at(
    COMMANDS,
    _console_or_command,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A lab bench in the terminal for early-exit language models.",
)


def main() -> None:
    """Entry point."""
    with lasting():
        _require_text(sys.argv[1:])
        try:
            app()
        except SystemExit as leaving:
            if is_work_left():
                with suppress(NobodyReadsError):
                    sys.stdout.flush()
                os._exit(leaving.code if isinstance(leaving.code, int) else 1)
            raise


def _require_text(arguments: Sequence[str]) -> None:
    """Refuse words that are no text: they could be neither stored nor searched for.

    Raises:
        UsageError: there is such a word.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{os.fsencode(argument)!r:.200} is no text in the encoding of this terminal, "
                f"{sys.getfilesystemencoding()}: write it in plain letters, rename the file, or set LC_ALL=C.UTF-8"
            ) from None
