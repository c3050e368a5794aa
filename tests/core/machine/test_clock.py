"""The clock: parts within parts, pauses, stages."""

from collections.abc import Callable

import pytest

from core.events import Profiled
from core.machine import clock as profile
from core.machine.clock import PAUSED, UNPROFILED, Stopwatch


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still; call it to let so many seconds pass."""
    now = [100.0]
    monkeypatch.setattr(profile.time, "perf_counter", lambda: now[0])

    def pass_by(count: float) -> None:
        now[0] += count

    return pass_by


def test_a_part_within_a_part_counts_for_itself_alone(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part("optimizer", 10):
        seconds(1)
        with clock.part("forward", 5):
            seconds(2)
            with clock.part("data"):
                seconds(4)
        with clock.part("forward", 5):
            seconds(8)
        seconds(16)
    clock.count("forward", 3)
    seconds(32)
    (found,) = clock.read("stage")
    assert (found.stage, found.seconds) == ("stage", 63)
    assert dict(zip(found.parts, found.part_seconds, strict=True)) == {"data": 4, "forward": 10, "optimizer": 17}
    assert dict(zip(found.parts, found.part_flops, strict=True)) == {"data": 0, "forward": 13, "optimizer": 10}


def test_pauses_are_not_part_of_a_stage(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part(PAUSED):
        seconds(1000)
    seconds(2)
    (found,) = clock.read("stage")
    assert (found.seconds, found.parts) == (2, ())


def test_each_stage_begins_anew(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part("data", 7):
        seconds(1)
    clock.begin()
    seconds(2)
    (found,) = clock.read("next")
    assert found == Profiled("next", 2, (), (), ())


def test_the_device_is_waited_for_at_the_end_of_every_part(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch(wait=lambda: seconds(5))
    with clock.part("head"):
        seconds(1)
    (found,) = clock.read("stage")
    assert found.part_seconds == (6,)


def test_without_a_profile_the_clock_says_nothing() -> None:
    UNPROFILED.begin()
    with UNPROFILED.part("data", 1), UNPROFILED.part("forward", 2):
        UNPROFILED.count("data", 3)
    assert list(UNPROFILED.read("stage")) == []
