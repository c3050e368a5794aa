"""Room on the disks that folders are on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.machine.file_system import file_system

SCARCE = 2**30
"""Bytes left on a disk that are few."""


@dataclass(frozen=True)
class Disk:
    """The disk that a folder is on.

    Attributes:
        folder: the folder, which need not exist yet.
        free, total: bytes that may still be written, and in all.
        writable: whether this process may write there.
        kind: type of the file system, such as ext4; None where it is not told.
    """

    folder: Path
    free: int
    total: int
    writable: bool = True
    kind: str | None = None

    @property
    def scarce(self) -> bool:
        """Whether little is left."""
        return self.free < SCARCE


def disk_of(folder: Path) -> Disk:
    """Read the disk of a folder, or of the nearest one above it that exists.

    Raises:
        OSError: the disk can't be asked.
    """
    whole = Path(os.path.abspath(folder))
    there = next((one for one in (whole, *whole.parents) if one.is_dir()), Path("/"))
    usage = shutil.disk_usage(there)
    return Disk(folder, usage.free, usage.total, os.access(there, os.W_OK), file_system(there))
