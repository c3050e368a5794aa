"""How much a console may write to its terminal, for those who look at it over a slow link."""

import time
from collections.abc import Callable


class Link:
    """A leaky bucket: what was written fills it, and it empties at the link's speed.

    Args:
        most: bytes a second; None sets no bound.
        clock: seconds, monotonic.
    """

    def __init__(self, most: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._level, self._at = 0.0, clock()

    def wrote(self, count: int) -> None:
        """Note that so many bytes were written."""
        self._leak()
        self._level += count

    @property
    def free(self) -> bool:
        """Whether the link has had time for all that was written."""
        self._leak()
        return self._level <= 0

    def _leak(self) -> None:
        now = self._clock()
        self._level = 0.0 if self._most is None else max(0.0, self._level - self._most * (now - self._at))
        self._at = now
