"""Standard streams that may go away: a closed terminal, a full disk, a reader that has seen enough.

Nothing that a command does for its user ends because nobody listens. What goes to standard error is lost from then on;
a command whose output nobody reads on is done.

A guard lets a terminal have plain text and colours only (`eetui.drawing.harmless`), whoever writes; data that goes into
a file or a pipe stays exact. What the encoding of a stream lacks is drawn in ASCII.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from core.errors import EetuiError
from core.parallel.launch import is_follower
from eetui.drawing.fallback import FALLBACK
from eetui.drawing.harmless import lines, styled

FOLLOWER_SECONDS = 5.0
"""How long one of several processes, other than the first, waits before it tells of an error."""


class NobodyReadsError(Exception):
    """Whoever read the output has seen enough."""


class OutputError(EetuiError):
    """The output can't be written."""


class _Stream:
    """A text stream, what can't be written to it being dealt with; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=FALLBACK)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def unguarded(self) -> "_Unguarded":
        """The stream for who writes nothing but what is harmless, and controls the terminal."""
        return _Unguarded(self)

    def write(self, text: str) -> int:
        self.put(styled(text))
        return len(text)

    def put(self, text: str) -> int:
        """Write a text as it is."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def _failed(self, error: OSError) -> None:
        """Let all that is written from now on go nowhere, what is buffered too."""
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


class _Unguarded:
    """A stream without its guard."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.write = stream.put

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Stream):
    """Standard output: the command ends where it can't be written; data in a file or a pipe stays as it is."""

    def write(self, text: str) -> int:
        return super().write(text) if self.isatty() else self.put(text)

    def _failed(self, error: OSError) -> None:
        super()._failed(error)
        if isinstance(error, BrokenPipeError):
            raise NobodyReadsError from error
        raise OutputError(f"the output can't be written: {error.strerror or error}") from error


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Run a command on streams that outlast what is at their other end.

    Every error meant for the user becomes one message and its exit code.
    """
    _open_what_is_closed()
    if not isinstance(sys.stdout, _Stream):
        sys.stdout, sys.stderr = _Output(sys.stdout), _Stream(sys.stderr)
    try:
        try:
            yield
        except SystemExit:
            with contextlib.suppress(NobodyReadsError):  # the command has ended, with the code it has
                sys.stdout.flush()
            raise
        sys.stdout.flush()
    except EetuiError as error:
        who = ""
        if is_follower():  # what the first process says as well, it says meanwhile, and then all are ended
            time.sleep(FOLLOWER_SECONDS)
            who = f"process {os.environ['RANK']}: "
        print(f"eetui: {who}{lines(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except NobodyReadsError:
        sys.exit(0)


def _open_what_is_closed() -> None:
    """Let standard streams that were closed lead nowhere, and nothing else that is opened get their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
