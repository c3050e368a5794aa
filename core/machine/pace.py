"""Warning about a run that trains far more slowly than it could, with the likely causes; given once.

A training is watched in windows of some seconds. It is too slow if its steps take twice as long as before, or as
estimated before the run, or if a thread waits for a processor much of the time; the latter also shows in a run that was
slow from its first step.
"""

import statistics
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace

from core.events import Event, RunStarted, StageStarted, Step, Warned
from core.machine.cores import SAMPLE_SECONDS, Usage, allowed_cores, others, read_usage

FAR_BELOW = 0.5
"""Share of the expected speed below which a window is slow."""
MUCH_WAITING = 0.4
"""Share of the time that a thread waits for a processor, above which a window is slow: all others wait for it."""
WINDOW_SECONDS, WINDOW_STEPS = 10.0, 5
"""Shortest duration and smallest number of steps of a window."""
WINDOWS = 2
"""Number of consecutive slow windows that cause the warning."""
OTHERS, HELD, SWAPPED, PEAK = 0.5, 0.1, 2**20, 0.7
"""Limits of what counts as a cause: cores taken by other processes, share of periods in which the quota was used up,
bytes swapped a second, share of the peak FLOP/s at the run's start."""
SLACK = 0.25
"""Cores beyond those that there are, by which the load may seem too large: the counters are coarse."""


@dataclass(frozen=True)
class Outlook:
    """Knowledge about a run before it starts.

    Attributes:
        remark: remark on its number of threads; empty if there is none.
        speed: estimated tokens a second of its first training.
    """

    remark: str = ""
    speed: float | None = None


NO_OUTLOOK = Outlook()


@dataclass(frozen=True)
class Window:
    """Some seconds of training.

    Attributes:
        speed: tokens a second of the median step.
        others: cores that other processes kept busy.
        waited: share of the time that a thread waited for a processor, for the thread that waited most.
        held: share of the quota's periods in which the quota was used up.
        swapped: bytes swapped a second, by all processes.
    """

    speed: float
    others: float = 0.0
    waited: float = 0.0
    held: float = 0.0
    swapped: float = 0.0

    def is_slow(self, expected: float) -> bool:
        """Whether the window is far below an expected speed, or its threads waited much."""
        return self.speed < FAR_BELOW * expected or self.waited > MUCH_WAITING


def window(rates: Iterable[float], before: Usage, after: Usage) -> Window:
    """Return the window between two readings, from the tokens a second of its steps."""
    seconds, periods = after.at - before.at, after.periods - before.periods
    return Window(
        speed=statistics.median(rates),
        others=others(before, after),
        waited=most_waiting(before, after),
        held=(after.held - before.held) / periods if periods > 0 else 0.0,
        swapped=(after.swapped - before.swapped) / seconds if seconds > 0 else 0.0,
    )


def most_waiting(before: Usage, after: Usage) -> float:
    """Return the largest share of its time that a thread waited for a processor, among mostly busy threads."""
    shares = [0.0]
    for thread, (ran, waited) in after.threads.items():
        ran_before, waited_before = before.threads.get(thread, (0.0, 0.0))
        ready = ran - ran_before + waited - waited_before
        if ready > 0 and ready >= (after.at - before.at) / 2:
            shares.append((waited - waited_before) / ready)
    return max(shares)


def causes(seen: Window, threads: int, allowed: int, peak: Callable[[], float | None]) -> str:
    """Name the likely causes of a slow window.

    Args:
        peak: measures the share of the peak FLOP/s at the run's start; called if there is no other cause.
    """
    found = disturbances(seen, allowed)
    if threads > allowed:
        found.append(f"it has {threads} threads on {allowed} cores")
    if not found and (share := peak()) is not None and share < PEAK:
        found.append(f"the processor itself computes at {share:.0%} of its speed at the start: heat, or a power limit")
    return "; ".join(found) or "no cause was found on this machine"


def disturbances(seen: Window, allowed: int) -> list[str]:
    """Name what other programs or a quota took from a window."""
    found = []
    if seen.others >= OTHERS:
        found.append(f"other processes take {seen.others:.1f} of {allowed} cores")
    if seen.held >= HELD:
        found.append(f"the control group's quota was used up {seen.held:.0%} of the time")
    if seen.swapped >= SWAPPED:
        found.append(f"the system swaps {seen.swapped / 2**20:,.0f} MiB a second")
    return found


def kept_busy(before: Usage, after: Usage, threads: int) -> str:
    """Say what disturbed a measurement between two readings; empty if nothing did, as far as is known.

    Other processes do not disturb it as long as cores are left. Counters tell nothing of less than `SAMPLE_SECONDS`.
    """
    if after.at - before.at < SAMPLE_SECONDS:
        return ""
    seen, allowed = window([0.0], before, after), len(allowed_cores())
    if seen.others + threads <= allowed + SLACK:
        seen = replace(seen, others=0.0)
    return "; ".join(disturbances(seen, allowed))


class Pace:
    """Watches the trainings of one run.

    Args:
        threads: the run's number of threads.
        outlook: what was known before the run.
        peak: measures the processor's FLOP/s.
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

    def watch(self, events: Iterable[Event]) -> Generator[Event, None, None]:
        """Yield the events, with a warning after the one that caused it."""
        for event in events:
            yield event
            if (warning := self.see(event)) is not None:
                yield warning

    def see(self, event: Event) -> Warned | None:
        """Return the warning that this event causes, if any."""
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
            self._estimated = 0.0  # the estimate is for the first training only
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
        """Return the warning, and stop watching."""
        line = f"{self._stage} trains at {seen.speed:,.0f} tokens a second (median step)"
        known = {"it reached before": self._best, "estimated": self._estimated}
        name, expected = max(known.items(), key=lambda item: item[1])
        if seen.speed < FAR_BELOW * expected:
            line += f", {seen.speed / expected:.0%} of the {expected:,.0f} {name}"
        if seen.waited > MUCH_WAITING:
            line += f", with a thread waiting for a processor {seen.waited:.0%} of the time"
        self._said, self._stage = True, None
        return Warned(f"{line}: {causes(seen, self.threads, len(allowed_cores()), self._peak_share)}")

    def _peak_share(self) -> float | None:
        return self.peak() / self._first_peak if self._first_peak else None
