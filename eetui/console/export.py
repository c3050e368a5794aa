"""Files of exported screen contents."""

from pathlib import Path

from core.errors import UsageError
from eetui.drawing.formats import file_stem

FOLDER = Path("eetui-exports")


def export(name: str, text: str) -> Path:
    """Write text to `eetui-exports/NAME` in the current folder; return its path, numbered if the name was taken.

    Raises:
        UsageError: it can't be written.
    """
    stem, dot, suffix = file_stem(name).rpartition(".")
    path, number = FOLDER / f"{stem}{dot}{suffix}", 2
    try:
        FOLDER.mkdir(exist_ok=True)
        while True:
            try:
                with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
                return path
            except FileExistsError:
                path, number = FOLDER / f"{stem}-{number}{dot}{suffix}", number + 1
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror or error}): start eetui elsewhere") from error
