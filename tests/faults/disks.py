"""Disks that go wrong: one that is full for as long as is wanted, for a database and for checkpoints."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from core.protocol import weights_file
from core.store.writer import Writer


class Disk:
    """The disk of a writer's database and of all checkpoints.

    Attributes:
        refused: how often something could not be written.
    """

    def __init__(self, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused = 0
        self._connection, self._full = writer._connection, False
        real_write, real_append = weights_file.write_atomically, writer.append

        def write(path: Path, content: Iterable[bytes | memoryview], *, durable: bool = False) -> None:
            if self._full:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            real_write(path, content, durable=durable)

        def append(*arguments: object) -> None:
            try:
                if self._full:
                    writer.note(1, "x" * 1_000_000)  # more than there is room for on the pages it has
                real_append(*arguments)  # type: ignore[arg-type]
            except Exception:
                self.refused += 1
                raise

        monkeypatch.setattr(weights_file, "write_atomically", write)
        monkeypatch.setattr(writer, "append", append)

    def fill(self) -> None:
        """From now on nothing can grow."""
        self._full = True
        self._connection.execute("PRAGMA max_page_count = 1")  # that is: as many as it has

    def empty(self) -> None:
        """There is room again."""
        self._full = False
        self._connection.execute("PRAGMA max_page_count = 1000000")
