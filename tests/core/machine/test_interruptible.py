"""Work of a library that Ctrl-C ends."""

import threading

import pytest

from core.machine.interruptible import interruptible, is_work_left


def test_what_the_work_returns_and_raises_comes_through() -> None:
    assert interruptible(lambda: threading.current_thread() is not threading.main_thread())
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)
    assert not is_work_left()
