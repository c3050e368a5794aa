"""Opens the console from the command line."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eetui.console.training_thread import Request


def has_terminal() -> bool:
    """Whether there is a terminal to draw a console on."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_console(db: Path, request: "Request | None" = None) -> int:
    """Open the console on a database, train the requested runs if there are any, and return the exit code."""
    from eetui.app import run_console
    from eetui.console.settings import load_settings

    return run_console(db, load_settings(), request)
