"""Time since runs began, which a clock that steps back or forth changes only before they are first looked at."""

import time


class Elapsed:
    """Seconds since the start of live runs: from its date when a run is first asked for, monotonic from then on."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, float], tuple[float, float]] = {}

    def since(self, run: int, started: float) -> float:
        """Return the seconds since a run started.

        Args:
            started: its date, in seconds since 1970; a run that is resumed has another.
        """
        now = time.monotonic()
        before, seen = self._first.setdefault((run, started), (max(time.time() - started, 0.0), now))
        return before + now - seen
