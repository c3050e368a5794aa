"""Files of exported screen contents."""

import contextlib
import os
from pathlib import Path

from core.errors import UsageError
from eetui.drawing.formats import file_stem, free_stem

FOLDER = Path("eetui-exports")


def export(name: str, text: str) -> Path:
    """Write text to `eetui-exports/NAME` in the current folder; return its path, numbered if the name was taken.

    Raises:
        UsageError: it can't be written.
    """
    stem, dot, suffix = file_stem(name).rpartition(".")
    ending = f"{dot}{suffix}"
    path = FOLDER / f"{stem}{ending}"
    try:
        FOLDER.mkdir(exist_ok=True)
        taken = names_in(FOLDER)
        while True:
            path = FOLDER / f"{free_stem(stem, taken, (ending,))}{ending}"
            try:
                with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
                return path
            except FileExistsError:  # another console was faster
                taken.append(path.name)
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror or error}): start eetui elsewhere") from error


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none where it can't be read: what is written there then says why."""
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
