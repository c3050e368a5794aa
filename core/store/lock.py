"""One trainer a run: the lock that a process holds as long as it trains one, whatever the database says of the run."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import LostRunError
from core.store.files import lock_file, remove_if_empty
from core.store.liveness import this_process

LOOK_SECONDS = 0.3
"""Who only looks whether a run is locked locks it for a moment; so long it is tried again."""


@contextlib.contextmanager
def training_alone(database: Path, run: int) -> Iterator[None]:
    """Hold a run's lock. The system lets go of it however the process ends.

    Where no file can be written, or the file system knows no locks, the database alone keeps others away.

    Raises:
        LostRunError: another process trains the run.
    """
    give_up = time.monotonic() + LOOK_SECONDS

    def wait(holder: str) -> None:
        if time.monotonic() > give_up:
            raise LostRunError(f"run {run} is in training already, by {holder}: stop it there first")
        time.sleep(0.02)

    with holding(lock_file(database, run), wait):
        yield


@contextlib.contextmanager
def holding(path: Path, wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file, which is there as long as it is held; without locks where there can be none.

    Args:
        wait: called with the name of who holds it, again and again until it is free; it raises to give up.
    """
    descriptor = _locked(path, wait)
    try:
        yield
    finally:
        if descriptor is not None:
            if _is_file(path, descriptor):
                with contextlib.suppress(OSError):
                    path.unlink()  # while it is held: who waits to open it makes another
            os.close(descriptor)
            remove_if_empty(path.parent)


def trainer_of(database: Path, run: int) -> str | None:
    """Name the holder of a run's lock, as `process 123 on host`; None if there is none, or it can't be told."""
    try:
        descriptor = os.open(lock_file(database, run), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _locked(path: Path, wait: Callable[[str], None]) -> int | None:
    """Take the lock and return its descriptor; None where the file system has no locks."""
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            wait(holder)
        except OSError:
            os.close(descriptor)
            return None
        else:
            if _is_file(path, descriptor):
                _sign(descriptor)
                return descriptor
            os.close(descriptor)  # who held it has removed it meanwhile


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"


def _sign(descriptor: int) -> None:
    """Write into the file who holds it."""
    process = this_process()
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {process['pid']} on {process['host']}".encode(), 0)


def _is_file(path: Path, descriptor: int) -> bool:
    """Whether the name still is that of the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False
