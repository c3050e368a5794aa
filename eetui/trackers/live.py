"""Runs in training, told to trackers as their events are published; training neither waits for one nor fails by it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import UsageError
from core.events import Event, RunStarted, Step
from core.store.reader import Reader
from eetui.trackers.contract import Trackers, tracker
from eetui.trackers.mirror import Mirror

MOST_WAITING = 5_000
"""Batches of events that wait for a tracker, beyond which it gets no more single steps."""
END_SECONDS = 60.0
"""How long the end of a command waits for trackers to take what is left."""
Publish = Callable[[int, Sequence[Event]], None]
Warn = Callable[[str], None]


def parsed(texts: Sequence[str]) -> Trackers:
    """Return the name and the maker of each tracker that `--mirror TRACKER:DIR` names.

    Raises:
        UsageError: a text is not of that form, there is no such tracker, or it is not installed.
    """
    found = []
    for text in texts:
        name, colon, folder = text.partition(":")
        if not colon or not folder:
            raise UsageError(f"--mirror takes TRACKER:DIR, such as tensorboard:logs, got {text!r}")
        found.append((name, tracker(name, Path(folder).expanduser())))
    return found


class Mirrors:
    """Trackers that get the events of runs, on a thread of their own; `publish` returns at once."""

    def __init__(self, trackers: Trackers, database: Path, warn: Warn) -> None:
        self._trackers, self._database, self._warn = dict(trackers), database, warn
        self._runs: dict[tuple[str, int], Mirror] = {}
        self._waiting: queue.SimpleQueue[tuple[int, Sequence[Event], float] | None] = queue.SimpleQueue()
        self._behind = False
        self._thread = threading.Thread(target=self._work, name="mirrors", daemon=True)

    @contextmanager
    def running(self) -> Iterator["Mirrors"]:
        """Mirror while the block runs, then what is left, for up to `END_SECONDS`."""
        if not self._trackers:
            yield self
            return
        self._thread.start()
        try:
            yield self
        finally:
            self._waiting.put(None)
            self._thread.join(END_SECONDS)
            if self._thread.is_alive():
                self._warn(f"a tracker takes longer than {END_SECONDS:.0f} s to end: its last figures may be missing")

    def publish(self, run: int, events: Sequence[Event]) -> None:
        """Take the events of a run, which are stored by now."""
        if not self._trackers:
            return
        if self._waiting.qsize() > MOST_WAITING:
            if not self._behind:
                self._behind = True
                self._warn("trackers are slower than training: they miss single steps from now on")
            events = [event for event in events if not isinstance(event, Step)]
        if events:
            self._waiting.put((run, events, time.time()))

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None:
            for name in list(self._trackers):
                try:
                    self._mirror(name, *batch)
                except Exception as error:  # whatever a tracker raises
                    del self._trackers[name]
                    self._warn(f"{name} takes no more ({type(error).__name__}: {error}); training goes on without it")
        for (name, run), mirror in self._runs.items():
            if name in self._trackers and not mirror.ended:
                try:
                    mirror.end("interrupted", time.time())
                except Exception as error:
                    self._warn(f"{name} did not take the end of run {run} ({type(error).__name__}: {error})")

    def _mirror(self, name: str, run: int, events: Sequence[Event], at: float) -> None:
        if (name, run) not in self._runs:
            if not any(isinstance(event, RunStarted) for event in events):
                return  # it ended before it began
            with Reader(self._database) as reader:
                row = reader.run(run)
            self._runs[name, run] = Mirror(self._trackers[name](), row)
        mirror = self._runs[name, run]
        mirror.take(events, at)
        if not mirror.ended and not all(isinstance(event, Step) for event in events):
            mirror.flush()


def with_mirrors(publish: Publish, mirrors: Mirrors) -> Publish:
    """Return a listener that passes events to another one, and then to mirrors."""

    def both(run: int, events: Sequence[Event]) -> None:
        publish(run, events)
        mirrors.publish(run, events)

    return both
