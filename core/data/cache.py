"""Cache of files that can be computed again, in the user's cache folder."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import platformdirs

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""Flags that open a file which must not be there yet."""


def cache_dir() -> Path:
    """Return the folder of cached files: `EETUI_CACHE`, else the platform's; it need not exist."""
    chosen = os.environ.get("EETUI_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("eetui"))


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview], *, durable: bool = False) -> None:
    """Write a file, creating its folder, so that no reader ever sees a part of it; who may read it, the umask says.

    Args:
        content: all bytes, or parts of them in order.
        durable: whether to return only once it is on the disk, so that it is whole after a power cut too.

    Raises:
        OSError: the folder or the file can't be written; no temporary file is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, NEW_FILE, 0o666)  # not `tempfile`, whose files nobody else may read
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def recall(name: str) -> bytes | None:
    """Return the content that `remember` stored under this name; None if it is missing, unreadable or damaged."""
    try:
        digest, _, content = (cache_dir() / name).read_bytes().partition(b"\n")
    except OSError:
        return None
    return content if digest == _digest(content) else None


def remember(name: str, content: bytes) -> None:
    """Store content for `recall`, with its digest in the first line; a cache that can't be written is ignored."""
    with contextlib.suppress(OSError):
        write_atomically(cache_dir() / name, _digest(content) + b"\n" + content)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
