"""The warning about a slow run: given once, with its cause, and never on a quiet machine."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.events import Event, RunStarted, StageEnded, StageStarted, Step, Warned
from core.machine.cores import Usage
from core.machine.pace import WINDOW_SECONDS, Outlook, Pace, Window, causes, kept_busy, most_waiting
from core.session.plan import Plan
from core.session.prepare import Prepared, prepare
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer

MakeConfig = Callable[..., RunConfig]
STARTED = RunStarted((), 1, 1, 1, (1, 1), 1, peak_flops=100.0)
TOKENS = 1000


class Machine:
    """Two cores whose counters advance with the steps' seconds.

    Attributes:
        others: cores that other processes take.
        waiting: share of the time that this process's second thread waits for a core.
        peak: FLOP/s of a matmul.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.others, self.waiting, self.peak = 0.0, 0.0, 100.0
        self._busy = self._own = self._ran = self._waited = 0.0

    def pass_by(self, seconds: float, *, training: bool = True) -> None:
        own = 2.0 * seconds if training else 0.0
        self.now += seconds
        self._own += own
        self._busy += own + self.others * seconds
        if training:
            self._ran += (1 - self.waiting) * seconds
            self._waited += self.waiting * seconds

    def read(self) -> Usage:
        return Usage(self.now, self._busy, self._own, {1: (self._ran, 0.0), 2: (self._ran, self._waited)})

    def pace(self, outlook: Outlook = Outlook()) -> Pace:  # noqa: B008 -- frozen
        return Pace(2, outlook, lambda: self.peak, self.read)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("core.machine.pace.allowed_cores", lambda: {0, 1})
    return Machine()


def begun(stage: str = "block0.lm", **values: object) -> StageStarted:
    return StageStarted(stage, "lm", 0, 5, 100, 10_000, **values)  # type: ignore[arg-type]


def steps(
    machine: Machine, speed: float, seconds: float, stage: str = "block0.lm", noise: Callable[[], float] = lambda: 1.0
) -> Iterator[Event]:
    """Yield steps at that many tokens a second, for so many seconds."""
    end = machine.now + seconds
    while machine.now < end:
        took = TOKENS / speed * noise()
        machine.pass_by(took)
        yield Step(stage, 1, 1, 1.0, TOKENS, took)


def said(pace: Pace, *parts: Iterable[Event]) -> list[str]:
    return [event.message for part in parts for event in pace.watch(part) if isinstance(event, Warned)]


def test_a_steady_run_says_nothing_in_an_hour(machine: Machine) -> None:
    draw = random.Random(1)
    machine.waiting = 0.05
    noisy = steps(machine, 2000, 3600, noise=lambda: draw.choice([0.7, 0.9, 1.0, 1.0, 1.1, 1.4, 5.0]))
    assert said(machine.pace(), [STARTED, begun()], noisy) == []


def test_a_run_that_falls_to_a_third_says_so_once_and_names_the_others(machine: Machine) -> None:
    def falling() -> Iterator[Event]:
        yield from steps(machine, 3000, 60)
        machine.others = 1.6
        yield from steps(machine, 1000, 600)

    assert said(machine.pace(), [STARTED, begun()], falling()) == [
        "block0.lm trains at 1,000 tokens a second (median step), 33% of the 3,000 it reached before: other processes "
        "take 1.6 of 2 cores"
    ]


def test_a_slow_moment_is_not_worth_a_word(machine: Machine) -> None:
    def interrupted() -> Iterator[Event]:
        for _ in range(20):
            yield from steps(machine, 3000, 3 * WINDOW_SECONDS)
            yield from steps(machine, 500, WINDOW_SECONDS / 2)

    assert said(machine.pace(), [STARTED, begun()], interrupted()) == []


def test_a_process_that_was_stopped_for_an_hour_is_not_slow(machine: Machine) -> None:
    def suspended() -> Iterator[Event]:
        for _ in range(5):
            yield from steps(machine, 3000, 2 * WINDOW_SECONDS)
            machine.pass_by(3600, training=False)
            yield Step("block0.lm", 1, 1, 1.0, TOKENS, 3600.0)

    assert said(machine.pace(), [STARTED, begun()], suspended()) == []


def test_a_pause_is_not_slow_whatever_others_do_meanwhile(machine: Machine) -> None:
    def paused() -> Iterator[Event]:
        for _ in range(5):
            yield from steps(machine, 3000, WINDOW_SECONDS / 2)
            machine.others = 2.0
            machine.pass_by(3600, training=False)
            machine.others = 0.0

    assert said(machine.pace(), [STARTED, begun()], paused()) == []


def test_a_run_that_was_slow_from_its_first_step_shows_by_its_threads_waiting(machine: Machine) -> None:
    machine.waiting, machine.others = 0.55, 1.0
    assert said(machine.pace(), [STARTED, begun()], steps(machine, 1000, 60)) == [
        "block0.lm trains at 1,000 tokens a second (median step), with a thread waiting for a processor 55% of the "
        "time: other processes take 1.0 of 2 cores"
    ]


def test_a_run_is_held_to_the_estimate(machine: Machine) -> None:
    machine.others = 1.0
    pace = machine.pace(Outlook(speed=5000))
    assert said(pace, [STARTED, begun()], steps(machine, 2000, 60)) == [
        "block0.lm trains at 2,000 tokens a second (median step), 40% of the 5,000 estimated: other processes take 1.0 "
        "of 2 cores"
    ]


def test_the_estimate_is_of_the_first_training_and_each_has_its_own_speed(machine: Machine) -> None:
    later = [StageEnded("block0.lm", 60.0), begun("block1.lm")]
    events = [steps(machine, 5000, 60), later, steps(machine, 1500, 60, "block1.lm")]
    assert said(machine.pace(Outlook(speed=5000)), [STARTED, begun()], *events) == []


def test_only_what_is_trained_now_is_watched(machine: Machine) -> None:
    machine.waiting = 0.9
    evaluation = StageStarted("evaluation", "evaluation", None, 1, 100, 10_000)
    events = [steps(machine, 1000, 60), [evaluation], steps(machine, 10, 60, "evaluation")]
    assert said(machine.pace(), [STARTED, begun(reused=True)], *events) == []


def test_the_remark_comes_first(machine: Machine) -> None:
    events = list(machine.pace(Outlook("6 threads")).watch([STARTED, begun()]))
    assert events == [STARTED, Warned("6 threads"), begun()]


def test_a_processor_that_slows_down_is_named_where_nothing_else_is_wrong(machine: Machine) -> None:
    def cooling() -> Iterator[Event]:
        yield from steps(machine, 3000, 60)
        machine.peak = 40.0
        yield from steps(machine, 1200, 60)

    (line,) = said(machine.pace(), [STARTED, begun()], cooling())
    assert line.endswith("the processor itself computes at 40% of its speed at the start: heat, or a power limit")


@pytest.mark.parametrize(
    ("seen", "threads", "peak", "text"),
    [
        (Window(1.0, others=1.25), 2, None, "other processes take 1.2 of 2 cores"),
        (Window(1.0, held=0.8), 2, None, "the control group's quota was used up 80% of the time"),
        (Window(1.0), 4, None, "it has 4 threads on 2 cores"),
        (Window(1.0, swapped=50 * 2**20), 2, 1.0, "the system swaps 50 MiB a second"),
        (Window(1.0, others=0.2), 2, 0.95, "no cause was found on this machine"),
        (Window(1.0), 2, None, "no cause was found on this machine"),
        (
            Window(1.0, others=1.0, swapped=2**21),
            2,
            0.1,
            "other processes take 1.0 of 2 cores; the system swaps 2 MiB a second",
        ),
    ],
)
def test_causes(seen: Window, threads: int, peak: float | None, text: str) -> None:
    assert causes(seen, threads, 2, lambda: peak) == text


def test_only_threads_that_had_something_to_do_can_have_waited() -> None:
    before = Usage(0.0, threads={1: (10.0, 1.0), 2: (5.0, 0.0)})
    after = Usage(10.0, threads={1: (19.0, 2.0), 2: (5.1, 0.9), 3: (3.0, 3.0)})
    assert most_waiting(before, after) == 0.5
    assert most_waiting(after, after) == 0.0
    assert most_waiting(Usage(0.0), Usage(10.0)) == 0.0


def test_the_remark_on_its_threads_is_stored_with_every_run(
    writer: Writer, reader: Reader, tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("\n".join(" ".join(f"w{line * word % 23}" for word in range(10)) for line in range(100)))
    monkeypatch.setattr("core.session.prepare.resolve_all", lambda configs: (tuple(configs), "1 thread, as it were"))
    configs = tuple(tiny_config(method, corpus=str(text), max_epochs=1) for method in ("loss", "softmax"))
    prepared: Prepared = prepare(Plan(configs, (None, None), speed=5.0), writer)
    assert prepared.outlook == Outlook("1 thread, as it were", 5.0)
    assert run_experiment(prepared, writer, lambda run, events: None) == ["finished", "finished"]
    for run in prepared.runs:
        assert reader.state(run).warnings[0] == "1 thread, as it were"


@pytest.mark.parametrize(
    ("seconds", "others", "threads", "words"),
    [
        (1.0, 0.1, 2, ""),
        (1.0, 1.0, 1, ""),
        (1.0, 1.0, 2, "other processes take 1.0 of 2 cores"),
        (0.1, 1.0, 2, ""),
    ],
    ids=["nothing else", "a core is left", "no core is left", "too short to tell"],
)
def test_a_measurement_is_disturbed_where_no_core_is_left_for_it(
    seconds: float, others: float, threads: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.machine.pace.allowed_cores", lambda: {0, 1})
    after = Usage(seconds, (others + threads) * seconds, threads * seconds)
    assert kept_busy(Usage(0.0), after, threads) == words
