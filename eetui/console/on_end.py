"""The command that the settings file has for the end of each run (`on_end`)."""

import os
import shlex
import subprocess
import threading
from pathlib import Path

from core.errors import ConfigError


def words_of(command: str) -> list[str]:
    """Split a command into its words, as a shell would; no shell runs it.

    Raises:
        ConfigError: a quotation is not closed, or there is no word.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"on_end can't be split into words ({error}), got {command!r:.200}") from None
    if not words:
        raise ConfigError("on_end must be a command with its arguments, got an empty text")
    return [os.path.expanduser(words[0]), *words[1:]]


def tell_end(command: str | None, database: Path, run: int, name: str, status: str) -> str:
    """Start the command, in the background, for a run that has ended; return why it can't be started, else nothing.

    It gets EETUI_RUN, EETUI_NAME, EETUI_STATUS and EETUI_DB in its environment, no input, and no place for output.
    """
    if command is None:
        return ""
    told = {"EETUI_RUN": str(run), "EETUI_NAME": name, "EETUI_STATUS": status, "EETUI_DB": str(database.absolute())}
    try:
        process = subprocess.Popen(
            words_of(command),
            env=os.environ | told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=process.wait, name="on_end", daemon=True).start()  # its end leaves no zombie
    except (OSError, ValueError, RuntimeError, ConfigError) as error:
        return f"on_end can't be started: {getattr(error, 'strerror', None) or error}"
    return ""
