"""Patience with a disk that has no room, or a database that somebody else locks: a run waits, and loses nothing."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from core.errors import UnwritableError
from core.events import Warned
from core.machine.clock import PAUSED, UNPROFILED, Clock

Result = TypeVar("Result")
Tell = Callable[[Warned], None]

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of the system that pass once there is room."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
"""Seconds between attempts: twice as many each time, up to the longest."""
LOOK_SECONDS = 0.1
"""Interval at which a run that waits looks whether it is to stop."""


class Patience:
    """Repeats what can't be written now until it can, or the run is to stop.

    Attributes:
        reason: why the run waits; None while it does not.
    """

    def __init__(self, should_stop: Callable[[], bool], tell: Tell, clock: Clock = UNPROFILED) -> None:
        """Create it for one run.

        Args:
            should_stop: whether the run is to stop; it may block for as long as the run is paused.
            tell: called with a warning when the run begins to wait, and when it goes on.
            clock: clock that leaves the waiting out of every figure.
        """
        self.should_stop, self.tell, self.clock = should_stop, tell, clock
        self.reason: str | None = None
        self._since, self._wait = 0.0, FIRST_WAIT
        self._notes: list[Warned] = []

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Call `work` until it can write; return its result.

        Raises:
            UnwritableError, OSError: it can't, and the run is to stop.
            Exception: anything else that `work` raises.
        """
        while True:
            try:
                result = work()
            except (UnwritableError, OSError) as error:
                reason = _what_passes(error)
                if reason is None or not self._again(reason):
                    raise
            else:
                self._go_on()
                return result

    def notes(self) -> list[Warned]:
        """Return what the run waited for since the last call, for its log."""
        notes, self._notes = self._notes, []
        return notes

    def _again(self, reason: str) -> bool:
        """Wait before the next attempt; False if the run is to stop."""
        if self.reason is None:
            self._since, self._wait = time.monotonic(), FIRST_WAIT
            self.reason = reason
            self.tell(Warned(f"paused, and goes on by itself once it can: {reason}"))
        with self.clock.part(PAUSED):
            until, self._wait = time.monotonic() + self._wait, min(2 * self._wait, LONGEST_WAIT)
            while not self.should_stop():
                if time.monotonic() >= until:
                    return True
                time.sleep(LOOK_SECONDS)
        return False

    def _go_on(self) -> None:
        if self.reason is not None:
            note = Warned(f"was paused for {time.monotonic() - self._since:.0f} s: {self.reason}")
            self.reason = None
            self._notes.append(note)
            self.tell(note)


def _what_passes(error: UnwritableError | OSError) -> str | None:
    """Say what keeps something from being written, if that may pass."""
    if isinstance(error, UnwritableError):
        return str(error)
    return f"{error.strerror}, to write a checkpoint: make room" if error.errno in NO_ROOM else None


IMPATIENT = Patience(lambda: True, lambda warning: None)
"""Of who is not in training: what can't be written is an error at once."""
