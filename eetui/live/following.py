"""State, loss curves and log lines of one run, read from its event log as it grows.

Only the log is read, and only what was added since the last read. Which process trains the run, or whether any still
does, makes no difference.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from core.events import Event, RunFailed, RunInterrupted, RunStarted, StageStarted, Step, Warned
from core.state import RunState, joined, reduce
from eetui.drawing.series import Curve
from eetui.summary.log_lines import line_of

ENTRIES = 400
"""Log entries of one read: a long log takes several, and keys are handled between them."""
LINES = 500

LineKind = Literal["event", "warning", "error", "stray"]


class EventLog(Protocol):
    """Source of events: `core.store.reader.Reader`."""

    def events(self, run: int, after: int = 0, *, limit: int = -1) -> tuple[list[Event], int]:
        """Return at most `limit` events (-1: all) after a place in the log, and the place they end at."""


@dataclass(frozen=True)
class LogLine:
    """A line of the log pane."""

    kind: LineKind
    text: str


class Following:
    """A run as its log tells it so far; `pull` reads on. Memory is bounded, however long the run."""

    def __init__(self, log: EventLog, run: int) -> None:
        self.log, self.run = log, run
        self.state = RunState()
        self.curves: dict[str, Curve] = {}
        """Training loss of every step, by stage, over the epochs completed."""
        self.lines: deque[LogLine] = deque(maxlen=LINES)
        self.lines_seen = 0
        """Number of lines so far, dropped ones included."""
        self.behind = True
        """Whether more may be ready to read."""
        self._place = 0

    def pull(self, entries: int = ENTRIES) -> bool:
        """Read at most `entries` further entries of the log; return whether there were any events."""
        events, place = self.log.events(self.run, self._place, limit=entries)
        self.behind = place - self._place >= entries
        self._place = place
        for event in joined(self._curved(events)):
            self.state = reduce(self.state, event)
            self._note(event)
        return bool(events)

    def say(self, kind: LineKind, text: str) -> None:
        """Add the lines of a text to the log."""
        for line in text.splitlines():
            self.lines.append(LogLine(kind, line))
            self.lines_seen += 1

    def _curved(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events unchanged, and append the loss of each step to its stage's curve."""
        steps_of = {stage.name: stage.steps for stage in self.state.stages}
        for event in events:
            match event:
                case RunStarted():
                    self.curves.clear()
                case Step(stage=stage, loss=float(loss)):
                    at = event.epoch - 1 + event.step / max(steps_of.get(stage, event.step), 1)
                    self.curves.setdefault(stage, Curve()).append(at, loss)
                case StageStarted():
                    steps_of[event.stage] = event.steps
            yield event

    def _note(self, event: Event) -> None:
        line = line_of(event, self.state)
        if line is not None:
            # The pane has signs of its own, and an ETA is soon out of date.
            self.say(_kind(event), line.removeprefix("! ").partition("  ETA ")[0])


def _kind(event: Event) -> LineKind:
    if isinstance(event, RunFailed):
        return "error"
    return "warning" if isinstance(event, Warned | RunInterrupted) else "event"
