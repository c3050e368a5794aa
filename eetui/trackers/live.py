"""Runs in training, told to trackers as their events are published; training neither waits for one nor fails by it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

from core.errors import UsageError
from core.events import Event, Publish, RunStarted, Step
from core.session.names import require_list
from core.store.reader import Reader
from eetui.trackers.contract import Trackers, tracker
from eetui.trackers.mirror import Mirror

MOST_WAITING = 5_000
"""Batches of events that wait for a tracker, beyond which it gets no more single steps."""
END_SECONDS = 60.0
"""How long the end of a command waits for trackers to take what is left."""
Warn = Callable[[str], None]


def parsed(texts: Sequence[str]) -> Trackers:
    """Return each tracker that `--mirror TRACKER:DIR` names, with its folder from the root, and what makes one.

    Raises:
        UsageError: it is no list, or a text is not of that form, there is no such tracker, it is there twice, or it is
            not installed.
    """
    require_list("mirror", texts)
    folders = dict[str, Path]()
    for text in texts:
        name, colon, folder = text.partition(":")
        if not colon or not folder:
            raise UsageError(f"--mirror takes TRACKER:DIR, such as tensorboard:logs, got {text!r}")
        if name in folders:
            raise UsageError(f"--mirror takes each tracker once, got {name} again in {text!r}")
        folders[name] = Path(folder).expanduser().absolute()
    return [(f"{name}:{folder}", tracker(name, folder)) for name, folder in folders.items()]


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
            for name in self._trackers:
                with self._without(name, batch[0]):
                    self._mirror(name, *batch)
        for (name, run), mirror in list(self._runs.items()):
            with self._without(name, run):
                mirror.end("interrupted", time.time())

    @contextmanager
    def _without(self, name: str, run: int) -> Iterator[None]:
        """Leave a run out of a tracker that fails with it; the next one is tried again."""
        try:
            yield
        except Exception as error:  # whatever a tracker raises
            self._runs.pop((name, run), None)
            what = f"{name} takes no more of run {run} ({type(error).__name__}: {error})"
            self._warn(f"{what}; training goes on without it")

    def _mirror(self, name: str, run: int, events: Sequence[Event], at: float) -> None:
        start = next((index for index, event in enumerate(events) if isinstance(event, RunStarted)), None)
        if start is not None:
            events = events[start:]  # what is before it was of a place that is lost
            self._begin(name, run, at)
        mirror = self._runs.get((name, run))
        if mirror is None:
            return  # it ended before it began, or is left out
        mirror.take(events, at)
        if mirror.ended:
            del self._runs[name, run]
        elif not all(isinstance(event, Step) for event in events):
            mirror.flush()

    def _begin(self, name: str, run: int, at: float) -> None:
        """Begin a run, again where it starts again in this process: its place was lost, or it was resumed."""
        if before := self._runs.pop((name, run), None):
            before.end("interrupted", at)
        with Reader(self._database) as reader:
            row = reader.run(run)
        # in a context of its own: a tracker may keep its current run in one, and end it where another begins
        self._runs[name, run] = copy_context().run(Mirror, self._trackers[name](), row)


def with_mirrors(publish: Publish, mirrors: Mirrors) -> Publish:
    """Return a listener that passes events to another one, and then to mirrors."""

    def both(run: int, events: Sequence[Event]) -> None:
        publish(run, events)
        mirrors.publish(run, events)

    return both
