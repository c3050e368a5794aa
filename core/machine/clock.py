"""Where the time of a stage goes: a clock with named parts, and one that never looks.

Stages say what they are about to do, and never ask whether anybody measures it. The parts of a training step are data
(gathering windows, embedding them), forward, head (its loss and, in the same pass, its gradients), backward and
optimizer (clipping included); set-up is what comes before the first, such as the optimizer's imports.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from core.events import Profiled

PAUSED = "paused"
"""The part that counts for nothing: the run was held."""
_NOTHING = nullcontext()


class Clock:
    """The clock of a run that is not profiled: costs nothing, says nothing."""

    def begin(self) -> None:
        """A stage begins."""

    def part(self, name: str, flops: float = 0.0) -> AbstractContextManager[None]:
        """What is done in here belongs to that part of the stage; parts may lie in one another.

        Args:
            flops: how many it takes.
        """
        return _NOTHING

    def count(self, name: str, flops: float) -> None:
        """FLOPs of a part that are known only now."""

    def read(self, stage: str) -> Iterator[Profiled]:
        """What there is to report at the end of a stage."""
        return iter(())


UNPROFILED = Clock()


class Stopwatch(Clock):
    """Takes the time of every part; that of a part within another counts for the inner one alone.

    Args:
        wait: returns when the device has done all it was given, where that works on its own.
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
