"""Time since runs began, whatever the clock does."""

import time

import pytest

from eetui.summary.elapsed import Elapsed


def test_the_time_of_a_run_goes_on_evenly_while_the_clock_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    elapsed, clock = Elapsed(), {"date": 1000.0, "steady": 5.0}
    monkeypatch.setattr(time, "time", lambda: clock["date"])
    monkeypatch.setattr(time, "monotonic", lambda: clock["steady"])
    assert elapsed.since(1, 990.0) == 10.0
    for step in (-3600.0, 7200.0, -20.0):
        clock["date"] += step
        clock["steady"] += 2.0
        assert elapsed.since(1, 990.0) == 10.0 + clock["steady"] - 5.0
    assert elapsed.since(2, clock["date"] + 30) == 0.0, "started before the clock stepped back, seen after"
    assert elapsed.since(1, clock["date"] - 1) == 1.0, "resumed"
