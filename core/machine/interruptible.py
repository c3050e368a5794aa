"""Long computations of libraries, which Ctrl-C could not end otherwise."""

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
LOOK_SECONDS = 0.1
"""Interval at which the waiting thread runs Python's signal handlers."""
_NAME = "interruptible"


def interruptible(work: Callable[[], Result]) -> Result:
    """Compute something in a library that releases Python's lock, and return or raise what it does.

    Python runs signal handlers on its main thread, between two of its own instructions only. So the work is done on a
    thread of its own; what a handler raises, such as `KeyboardInterrupt`, is raised at once. The work is then left to
    itself (`is_work_left`).
    """
    results, errors = list[Result](), list[BaseException]()

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, name=_NAME, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
    for error in errors:
        raise error
    return results[0]


def is_work_left() -> bool:
    """Whether interrupted work is still going on, for which Python would wait when the process ends."""
    return any(thread.name == _NAME for thread in threading.enumerate())
