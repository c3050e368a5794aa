"""Opens the console from the command line."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError

if TYPE_CHECKING:
    from eetui.console.training_thread import Request
    from eetui.trackers.contract import Trackers

INCAPABLE = ("", "dumb", "unknown")
"""Values of `TERM` for which nothing can be drawn."""


def has_terminal() -> bool:
    """Whether there is a terminal to draw a console on."""
    return is_served() or (sys.stdin.isatty() and sys.stdout.isatty())


def is_served() -> bool:
    """Whether the console is drawn in a browser, by the server that started this process (`eetui serve`)."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "")


def open_console(db: Path, request: "Request | None" = None, read_only: bool = False, mirrors: "Trackers" = ()) -> int:
    """Open the console on a database, train the requested runs if there are any, and return the exit code.

    Args:
        mirrors: trackers that are told of all that it trains.

    Raises:
        UsageError: the terminal can't place text.
    """
    require_capable_terminal()
    from eetui.app import run_console
    from eetui.console.settings import load_settings

    return run_console(db, load_settings(), request, read_only, mirrors)


def require_capable_terminal() -> None:
    """Refuse a terminal that can't draw a console.

    Raises:
        UsageError: it can't place text.
    """
    kind = os.environ.get("TERM", "")
    if kind in INCAPABLE and not is_served():
        raise UsageError(
            f"the console needs a terminal that can place text, and TERM says that this one is {kind or 'none'}: set "
            f"it, such as TERM=xterm-256color, train with --no-ui, or see eetui --help"
        )
