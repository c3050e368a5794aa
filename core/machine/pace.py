"""Whether a run trains far more slowly than it could, and why: said once, as a warning.

A training is watched in windows of some seconds. It is too slow where its steps take twice as long as they did, or as
was estimated before the run, or where its threads are ready to run and have no processor for much of the time, which
shows in a run that was slow from its first step.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.events import Event, RunStarted, StageStarted, Step, Warned
from core.machine.cores import Usage, allowed_cores, others, read_usage

FAR_BELOW = 0.5
"""Share of the expected speed."""
MUCH_WAITING = 0.4
"""Share of the time that a thread could run and has no processor: all the others wait for it."""
WINDOW_SECONDS, WINDOW_STEPS = 10.0, 5
"""Steps are judged together that took so long, and are so many."""
WINDOWS = 2
"""That must be slow one after the other."""
OTHERS, HELD, SWAPPED, PEAK = 0.5, 0.1, 2**20, 0.7
"""What counts as a cause: cores taken by others, periods in which the quota was used up, bytes swapped a second, share
of the first peak."""


@dataclass(frozen=True)
class Outlook:
    """What is known of a run before it starts.

    Attributes:
        remark: what there is to say of its number of threads.
        speed: tokens a second of its first training, as estimated.
    """

    remark: str = ""
    speed: float | None = None


NO_OUTLOOK = Outlook()


@dataclass(frozen=True)
class Window:
    """Some seconds of training.

    Attributes:
        speed: tokens a second of its median step.
        others: cores that other processes kept busy.
        waited: share of its time that the thread which waited most could have run and had no processor.
        held: share of the quota's periods in which it was used up.
        swapped: bytes a second, by whatever process.
    """

    speed: float
    others: float = 0.0
    waited: float = 0.0
    held: float = 0.0
    swapped: float = 0.0

    def is_slow(self, expected: float) -> bool:
        """Whether it is far below an expected speed, or below what its threads could do."""
        return self.speed < FAR_BELOW * expected or self.waited > MUCH_WAITING


def window(rates: Iterable[float], before: Usage, after: Usage) -> Window:
    """What was seen between two readings, with the steps' tokens a second."""
    seconds, periods = after.at - before.at, after.periods - before.periods
    return Window(
        speed=statistics.median(rates),
        others=others(before, after),
        waited=most_waiting(before, after),
        held=(after.held - before.held) / periods if periods > 0 else 0.0,
        swapped=(after.swapped - before.swapped) / seconds if seconds > 0 else 0.0,
    )


def most_waiting(before: Usage, after: Usage) -> float:
    """Largest share of its own time that a thread waited for a processor, of those that mostly had something to do."""
    shares = [0.0]
    for thread, (ran, waited) in after.threads.items():
        ran_before, waited_before = before.threads.get(thread, (0.0, 0.0))
        ready = ran - ran_before + waited - waited_before
        if ready > 0 and ready >= (after.at - before.at) / 2:
            shares.append((waited - waited_before) / ready)
    return max(shares)


def causes(seen: Window, threads: int, allowed: int, peak: Callable[[], float | None]) -> str:
    """Why a window may have been slow, as far as can be told.

    Args:
        peak: share of the peak at the run's start that the processor reaches now; asked if there is no other cause.
    """
    found = []
    if seen.others >= OTHERS:
        found.append(f"other processes take {seen.others:.1f} of {allowed} cores")
    if seen.held >= HELD:
        found.append(f"the control group's quota was used up {seen.held:.0%} of the time")
    if threads > allowed:
        found.append(f"it has {threads} threads on {allowed} cores")
    if seen.swapped >= SWAPPED:
        found.append(f"the system swaps {seen.swapped / 2**20:,.0f} MiB a second")
    if not found and (share := peak()) is not None and share < PEAK:
        found.append(f"the processor itself computes at {share:.0%} of its speed at the start: heat, or a power limit")
    return "; ".join(found) or "nothing on this machine tells why"


class Pace:
    """Watches the trainings of one run.

    Args:
        threads: of the run.
        outlook: what was known before.
        peak: measures what the processor reaches, in FLOP/s.
        read: reads the counters.
    """

    def __init__(
        self, threads: int, outlook: Outlook, peak: Callable[[], float], read: Callable[[], Usage] = read_usage
    ) -> None:
        self.threads, self.outlook, self.peak, self.read = threads, outlook, peak, read
        self._first_peak: float | None = None
        self._said = False
        self._stage: str | None = None
        self._estimated, self._best, self._slow = outlook.speed or 0.0, 0.0, 0
        self._rates, self._seconds, self._before = list[float](), 0.0, Usage(0.0)

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events, with what there is to say of their pace among them."""
        for event in events:
            yield event
            if (warning := self.see(event)) is not None:
                yield warning

    def see(self, event: Event) -> Warned | None:
        """What there is to say after this event, if anything."""
        match event:
            case RunStarted(peak_flops=peak):
                self._first_peak = peak
                return Warned(self.outlook.remark) if self.outlook.remark else None
            case StageStarted(kind="lm", reused=False) if not self._said:
                self._begin(event.stage)
            case Step() if event.stage == self._stage:
                return self._step(event)
        return None

    def _begin(self, stage: str) -> None:
        if self._stage is not None:
            self._estimated = 0.0  # it is of the first training
        self._stage, self._best, self._slow = stage, 0.0, 0
        self._begin_window()

    def _begin_window(self) -> None:
        self._rates, self._seconds, self._before = list[float](), 0.0, self.read()

    def _step(self, step: Step) -> Warned | None:
        self._seconds += step.seconds
        self._rates.append(step.tokens / step.seconds if step.seconds else 0.0)
        if self._seconds < WINDOW_SECONDS or len(self._rates) < WINDOW_STEPS:
            return None
        seen = window(self._rates, self._before, self.read())
        self._slow = self._slow + 1 if seen.is_slow(max(self._best, self._estimated)) else 0
        self._best = max(self._best, seen.speed)
        self._begin_window()
        return self._say(seen) if self._slow == WINDOWS else None

    def _say(self, seen: Window) -> Warned:
        """The warning, after which nothing more is watched."""
        line = f"{self._stage} trains at {seen.speed:,.0f} tokens a second (median step)"
        known = {"it reached before": self._best, "estimated": self._estimated}
        name, expected = max(known.items(), key=lambda item: item[1])
        if seen.speed < FAR_BELOW * expected:
            line += f", {seen.speed / expected:.0%} of the {expected:,.0f} {name}"
        if seen.waited > MUCH_WAITING:
            line += f", a thread being without a processor {seen.waited:.0%} of the time"
        self._said, self._stage = True, None
        return Warned(f"{line}: {causes(seen, self.threads, len(allowed_cores()), self._peak_share)}")

    def _peak_share(self) -> float | None:
        return self.peak() / self._first_peak if self._first_peak else None
