"""The files beside a database."""

import contextlib
import shutil
from pathlib import Path


def checkpoint_folder(database: Path, run: int) -> Path:
    """Where the weights of a run are kept. It need not exist."""
    return database.with_name(f"{database.name}.checkpoints") / str(run)


def delete_checkpoint(database: Path, run: int) -> None:
    """Delete the weights of a run, if there are any and they can be deleted."""
    folder = checkpoint_folder(database, run)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not there, or other runs have theirs in it
        folder.parent.rmdir()
