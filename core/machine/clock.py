"""Profile of a stage: a clock that times named parts, and one that does nothing.

Stages name the part they are in, whether it is timed or not. The parts of a training step are data (gathering windows,
embedding them), forward, head (its loss and, in the same pass, its gradients), backward and optimizer (with clipping).
The part set-up comes before the first step and contains, for example, the optimizer's imports.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from core.events import Profiled

PAUSED = "paused"
"""Part that no figure includes: the run was paused."""
_NOTHING = nullcontext()


class Clock:
    """Clock of a run that is not profiled: it measures nothing and yields nothing."""

    def begin(self) -> None:
        """Start a stage."""

    def part(self, name: str, flops: float = 0.0) -> AbstractContextManager[None]:
        """Return a context manager that adds its duration to that part of the stage; parts may be nested.

        Args:
            flops: number of FLOPs in it.
        """
        return _NOTHING

    def count(self, name: str, flops: float) -> None:
        """Add FLOPs to a part, where they are known only afterwards."""

    def read(self, stage: str) -> Iterator[Profiled]:
        """Yield the profile at the end of a stage."""
        return iter(())


UNPROFILED = Clock()


class Stopwatch(Clock):
    """Clock that times every part; the time of a nested part counts for the inner one only.

    Args:
        wait: blocks until the device is idle; needed for devices that work asynchronously.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self._wait = wait
        self.begin()

    def begin(self) -> None:
        self._began, self._inside = time.perf_counter(), 0.0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._flops: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str, flops: float = 0.0) -> Iterator[None]:
        began, before = time.perf_counter(), self._inside
        self._inside = 0.0
        try:
            yield
        finally:
            self._wait()
            took = time.perf_counter() - began
            self._seconds[name] += took - self._inside
            self._flops[name] += flops
            self._inside = before + took

    def count(self, name: str, flops: float) -> None:
        self._flops[name] += flops

    def read(self, stage: str) -> Iterator[Profiled]:
        seconds = time.perf_counter() - self._began - self._seconds.pop(PAUSED, 0.0)
        parts = tuple(self._seconds)
        yield Profiled(
            stage=stage,
            seconds=seconds,
            parts=parts,
            part_seconds=tuple(self._seconds.values()),
            part_flops=tuple(self._flops[part] for part in parts),
        )
