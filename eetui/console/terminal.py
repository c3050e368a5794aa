"""The terminal around the console: stray output of other code, and the signals that end the console."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

from eetui.drawing.fallback import FALLBACK

NOISE_BYTES = 1_000_000
"""Most bytes of stray output that are shown."""


class StrayOutput:
    """Output of subprocesses and native code to file descriptors 1 and 2 while the console owned the screen."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def text(self) -> str:
        """Return the output so far."""
        if self._descriptor is None:
            return ""
        return os.pread(self._descriptor, NOISE_BYTES, 0).decode(errors="replace")


NOTHING = StrayOutput()


@contextlib.contextmanager
def stray_output_kept() -> Iterator[StrayOutput]:
    """Keep the terminal for Textual: other output to descriptors 1 and 2 goes to a file.

    Textual redirects `sys.stdout` and `sys.stderr`, but not output below Python. The kept output is printed to
    stderr at the end.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        kept = StrayOutput(file.fileno())
        for number, name in ((1, "__stdout__"), (2, "__stderr__")):
            stack.enter_context(_terminal_elsewhere(number, name, file.fileno()))
        try:
            yield kept
        finally:
            text = kept.text()
            stack.pop_all().close()
            if text.strip():
                print(text.rstrip(), file=sys.stderr)


class _Terminal(io.TextIOWrapper):
    """A terminal that may go away, or lack characters: an error would end Textual's writer thread for good.

    The queue to it would be full soon, and then whoever draws would wait for ever, deaf to keys and signals.
    """

    def __init__(self, raw: io.FileIO, encoding: str) -> None:
        super().__init__(io.BufferedWriter(raw), encoding=encoding, errors=FALLBACK)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed, or its encoding takes nothing
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().flush()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # what could not be written still is to be
            super().close()


@contextlib.contextmanager
def _terminal_elsewhere(number: int, name: str, target: int) -> Iterator[None]:
    """Point a descriptor at `target`, and `sys.<name>` at the descriptor's former file."""
    original: TextIO = getattr(sys, name)
    original.flush()
    duplicate = os.dup(number)
    try:
        raw = io.FileIO(duplicate, "w", closefd=False)
        setattr(sys, name, _Terminal(raw, original.encoding))
        os.dup2(target, number)
        yield
    finally:
        getattr(sys, name).flush()
        setattr(sys, name, original)
        os.dup2(duplicate, number)
        os.close(duplicate)
