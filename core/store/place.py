"""Whether an open database still is the file of its name, and where else one can be put."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core.store.files import log_file, real_path

Identity = tuple[int, int]
"""Device and inode: what stays the same of a file as long as it is open, whatever happens to its name."""


class Place:
    """The file of an open database and its write-ahead log, by device and inode.

    A file that is removed, moved or replaced stays readable and writable for who has it open, without any error; all
    that is written then is gone with the process.
    """

    def __init__(self, database: Path) -> None:
        self.file = real_path(database)
        self._log = log_file(self.file)
        self._file_was, self._log_was = _identity(self.file), _identity(self._log)

    def is_kept(self) -> bool:
        """Tell whether the names still are those of the files that were opened."""
        log = _identity(self._log)
        self._log_was = self._log_was or log  # it appears with the first transaction
        return _identity(self.file) == self._file_was and log == self._log_was


def places_near(file: Path) -> Iterator[Path]:
    """Name new files for what a database held, the nearest first: in its folder, in those above, in common ones."""
    for folder in [*list(file.parents)[:-1], *_common_folders()]:
        if folder.is_dir():
            yield free_name(folder / file.name, "rescued")


def _common_folders() -> Iterator[Path]:
    for find in (Path.cwd, Path.home, tempfile.gettempdir):
        with contextlib.suppress(OSError, RuntimeError):  # the folder one is in may be gone too
            yield Path(find())


def free_name(file: Path, what: str) -> Path:
    """Return a name beside a file that nothing has: `runs.db` is `runs.rescued.db`, then `runs.rescued-2.db`."""
    number = 1
    while True:
        name = file.with_name(f"{file.stem}.{what}{'' if number == 1 else f'-{number}'}{file.suffix}")
        if not os.path.lexists(name):
            return name
        number += 1


def _identity(file: Path) -> Identity | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
