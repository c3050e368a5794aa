"""One run, followed through its event log: its state, the curves of its steps, and the lines worth reading.

It does not matter who trains the run, or whether anybody still does: only the log is read, from where it was left.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from core.events import Event, RunFailed, RunInterrupted, RunStarted, StageStarted, Step, Warned
from core.state import RunState, reduce
from eetui.drawing.series import Curve
from eetui.summary.log_lines import line_of

ENTRIES = 400
"""Of the log, read in one go: a long log is caught up with in several, so that keys are heard in between."""
LINES = 500

LineKind = Literal["event", "warning", "error", "stray"]


class EventLog(Protocol):
    """Where events are read from: `core.store.reader.Reader`."""

    def events(self, run: int, after: int = 0, *, limit: int = -1) -> tuple[list[Event], int]:
        """The events after a place in the log, and the place they end at."""


@dataclass(frozen=True)
class LogLine:
    """A line of the log pane."""

    kind: LineKind
    text: str


class Following:
    """What is known of a run so far; `pull` brings what is new. Its memory is bounded, however long the run."""

    def __init__(self, log: EventLog, run: int) -> None:
        self.log, self.run = log, run
        self.state = RunState()
        self.curves: dict[str, Curve] = {}
        """Training loss of every step, by stage, over the epochs completed."""
        self.lines: deque[LogLine] = deque(maxlen=LINES)
        self.lines_seen = 0
        """How many lines there were, those that were dropped included."""
        self.behind = True
        """Whether there may be more to read at once."""
        self._place = 0

    def pull(self, entries: int = ENTRIES) -> bool:
        """Read on, at most so many entries of the log; whether anything was new."""
        events, place = self.log.events(self.run, self._place, limit=entries)
        self.behind = place - self._place >= entries
        self._place = place
        for event in joined(self._curved(events)):
            self.state = reduce(self.state, event)
            self._note(event)
        return bool(events)

    def say(self, kind: LineKind, text: str) -> None:
        """Add lines to the log."""
        for line in text.splitlines():
            self.lines.append(LogLine(kind, line))
            self.lines_seen += 1

    def _curved(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, the steps among them put into curves on the way."""
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
            self.say(_kind(event), line.removeprefix("! ").partition("  ETA ")[0])  # no news in a log


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, consecutive steps of an epoch as one: to a `RunState` it says the same."""
    for key, group in itertools.groupby(events, key=_step_group):
        if key is None:
            yield from group
        else:
            yield _one_step([event for event in group if isinstance(event, Step)])


def _step_group(event: Event) -> tuple[str, int] | None:
    return (event.stage, event.epoch) if isinstance(event, Step) else None


def _one_step(steps: Sequence[Step]) -> Step:
    tokens, seconds = sum(step.tokens for step in steps), sum(step.seconds for step in steps)
    return replace(steps[-1], tokens=tokens, seconds=seconds)


def _kind(event: Event) -> LineKind:
    if isinstance(event, RunFailed):
        return "error"
    return "warning" if isinstance(event, Warned | RunInterrupted) else "event"
