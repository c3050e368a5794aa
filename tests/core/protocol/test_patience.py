"""Patience: what can't be written is tried again until it can, or the run is to stop."""

import errno
import itertools
from collections.abc import Callable

import pytest

from core.errors import StoreError, UnwritableError
from core.events import Warned
from core.protocol import patience
from core.protocol.patience import IMPATIENT, Patience


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.001)


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def work() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "written"

    return work


@pytest.mark.parametrize(
    "error",
    [
        UnwritableError("the disk is full"),
        *(OSError(number, "no room") for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    ],
)
def test_what_may_pass_is_waited_for_and_said_twice(error: Exception) -> None:
    told: list[str] = []
    waits = Patience(lambda: False, lambda warning: told.append(warning.message))
    assert waits.attempt(failing(3, error)) == "written"
    assert waits.reason is None
    assert len(told) == 2
    assert told[0].startswith("paused, and goes on by itself")
    assert told[1].startswith("was paused for 0 s")
    assert [note.message for note in waits.notes()] == told[1:]
    assert waits.notes() == []


@pytest.mark.parametrize("error", [StoreError("damaged"), OSError(errno.EACCES, "not yours"), ValueError()])
def test_what_does_not_pass_is_an_error_at_once(error: Exception) -> None:
    told: list[Warned] = []
    with pytest.raises(type(error)):
        Patience(lambda: False, told.append).attempt(failing(1, error))
    assert told == []


def test_a_run_that_is_to_stop_waits_no_longer() -> None:
    looks = iter([False, False, True, True])
    error = UnwritableError("full")
    with pytest.raises(UnwritableError):
        Patience(lambda: next(looks), lambda warning: None).attempt(failing(1000, error))
    with pytest.raises(UnwritableError):
        IMPATIENT.attempt(failing(1, error))


def test_attempts_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, moments = [0.0], []
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    work = failing(9, UnwritableError("full"))

    def timed() -> str:
        moments.append(now[0])
        return work()

    Patience(lambda: False, lambda warning: None).attempt(timed)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps == pytest.approx([0.5, 1, 2, 4, 8, 15, 15, 15, 15], abs=0.11)
