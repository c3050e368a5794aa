"""Commands that pages show, read as the command line reads them."""

import shlex
from pathlib import Path
from typing import Any

from typer.main import get_command

from eetui.cli.main import app

DOCS = Path(__file__).parents[1] / "docs"


def commands_of(page: str) -> list[list[str]]:
    """Return the words of each command of a page, without comments and the name of the program."""
    lines = [line.partition("  #")[0] for line in (DOCS / page).read_text().splitlines() if line.startswith("eetui ")]
    return [shlex.split(line)[1:] for line in lines]


def understood(words: list[str], command: Any = None) -> None:
    """Parse a command line as the command would, and run nothing."""
    command = command or get_command(app)
    context = command.make_context("eetui", words)
    if rest := [*getattr(context, "_protected_args", ()), *context.args]:
        _, command, rest = command.resolve_command(context, rest)
        understood(rest, command)
