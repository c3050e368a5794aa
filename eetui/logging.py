"""What a training loop of somebody else's tells: `with eetui.logging_run(…) as run`, or just `eetui.log(…)`."""

import atexit
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from core.session.logged import LoggedRun

__all__ = ["LoggedRun", "log", "logging_run"]
_current: LoggedRun | None = None
"""The run that `log` tells of: the one begun last."""
_begun = weakref.WeakSet[LoggedRun]()
"""Runs that may not have ended: what they were told last is stored when they do."""


def logging_run(
    name: str,
    config: Mapping[str, Any] | None = None,
    *,
    epochs: int = 0,
    steps: int = 0,
    tags: Sequence[str] = (),
    db: str | PathLike[str] | None = None,
) -> LoggedRun:
    """Begin a run that your own training loop tells of; `with` ends it, finished, failed or interrupted.

    Without `with`, `run.end()` does, or else the end of the process.

    Args:
        name: a number is added to one that is taken.
        config: what the training depends on, as plain values; `seed` and `corpus` are the run's.
        epochs: upper bound on the epochs, for the progress; 0: not known.
        steps: upper bound on the steps of one; 0: not known.
        db: database, which is created if it is missing; None: `EETUI_DB`, else `runs.db`.

    Raises:
        ConfigError: the name or a tag is not valid.
        UsageError: the config is no plain values, a bound is negative, or the database can't be written.
    """
    global _current
    path = Path(db if db is not None else os.environ.get("EETUI_DB") or "runs.db")
    _current = LoggedRun(name, config, epochs=epochs, steps=steps, tags=tags, db=path)
    _begun.add(_current)
    return _current


def log(**values: Any) -> None:
    """Tell the run begun last what `LoggedRun.log` takes; without one, of a run `log` that ends with the process.

    Raises:
        UsageError: nothing is told.
    """
    global _current
    if _current is None or _current.ended:
        _current = logging_run("log")
    _current.log(**values)


@atexit.register
def _at_exit() -> None:
    """End the runs that nobody has ended."""
    for run in list(_begun):
        run.end(getattr(sys, "last_value", None))
