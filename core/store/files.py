"""The files beside a database.

They belong to the file itself, whichever symlink it was named by.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path


def real_path(database: Path) -> Path:
    """Resolve every symlink on the way to a database, which need not exist."""
    return Path(os.path.realpath(database))


def log_file(file: Path) -> Path:
    """Name the write-ahead log of a database, which need not exist."""
    return file.with_name(f"{file.name}-wal")


def checkpoint_folder(database: Path, run: int) -> Path:
    """Name the folder of a run's weights, which need not exist.

    Earlier versions put it beside the symlink that the database was named by; what is there is still found.
    """
    folder = beside(real_path(database), run)
    if folder.is_dir():
        return folder
    return next((there for link in _links(database) if (there := beside(link, run)).is_dir()), folder)


def lock_file(database: Path, run: int) -> Path:
    """Name the file that is locked while a run is trained, beside the folder of its weights."""
    folder = beside(real_path(database), run)
    return folder.with_name(f"{folder.name}.lock")


def delete_checkpoint(database: Path, run: int) -> None:
    """Delete the weights of a run that nobody trains, if there are any and they can be deleted."""
    folder, lock = checkpoint_folder(database, run), lock_file(database, run)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        lock.unlink()
    for parent in {folder.parent, lock.parent}:
        remove_if_empty(parent)


def carry_checkpoint(database: Path, target: Path, run: int) -> None:
    """Bring the weights of a run to another database as well; files are never written twice, so that links will do."""
    with contextlib.suppress(OSError):
        source = checkpoint_folder(database, run)
        shutil.copytree(source, beside(target, run), copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def beside(database: Path, run: int) -> Path:
    """Name the folder of a run's weights beside a file of that name."""
    return database.with_name(f"{database.name}.checkpoints") / str(run)


def stages_folder(database: Path) -> Path:
    """Name the folder of the trained stages that runs share, which need not exist."""
    file = real_path(database)
    return file.with_name(f"{file.name}.stages")


def search_journal(database: Path, sweep: int) -> Path:
    """Name the file that the search of a sweep is kept in, which need not exist."""
    file = real_path(database)
    return file.with_name(f"{file.name}.searches") / f"{sweep}.journal"


def delete_search(database: Path, sweep: int) -> None:
    """Delete the search of a sweep, if there is one."""
    journal = search_journal(database, sweep)
    with contextlib.suppress(OSError):
        journal.unlink()
    remove_if_empty(journal.parent)


def clear_stages(database: Path, keys: Iterable[str]) -> None:
    """Delete stages, by their keys, that nothing shares any more."""
    folder = stages_folder(database)
    for key in keys:
        shutil.rmtree(folder / key, ignore_errors=True)
    remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that nothing is in."""
    with contextlib.suppress(OSError):  # it is not there, or something is in it
        folder.rmdir()


def _links(database: Path) -> Iterator[Path]:
    """Find the symlinks that lead to a database: those it was named by, then those in its own folder."""
    link, target = Path(os.path.abspath(database)), real_path(database)
    for _ in range(40):  # as many as the system follows
        if not link.is_symlink():
            break
        yield link
        link = link.parent / os.readlink(link)
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_symlink() and real_path(Path(entry)) == target)
