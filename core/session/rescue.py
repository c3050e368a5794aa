"""What becomes of a run whose database was removed or replaced under it: all of it is written to a new one."""

import contextlib
import shlex
from pathlib import Path

from core.errors import StoreError, VanishedError
from core.events import RunInterrupted
from core.session.outbox import Outbox
from core.state import LIVE
from core.store.files import beside, carry_checkpoint, real_path
from core.store.place import places_near
from core.store.writer import Writer

REASON = "its database was removed or replaced"


def rescue(outbox: Outbox, seconds: float) -> VanishedError:
    """End the run in training, and the others of this process, and write the database to the nearest place there is.

    The weights that are still there come along, so that the runs can be resumed in the new database.

    Args:
        seconds: how long the run has been in training.

    Returns:
        The error to raise: what happened, where everything is now, and how to go on.
    """
    store, run = outbox.store, outbox.run
    gone = f"the database {store.path} was removed or replaced while it was in use"
    target = _written(store)
    if target is None:
        return VanishedError(f"{gone}, and what it held could be written nowhere else: make room on some disk")
    unfinished = store.own_runs(unfinished=True)
    with contextlib.suppress(OSError, StoreError), Writer(target) as copy:  # else its readers see no end
        _end_all(outbox, copy, seconds)
        unfinished = copy.own_runs(unfinished=True)
    with contextlib.suppress(StoreError):  # it may be there yet, elsewhere
        for number in store.own_runs(live=True):
            store.end(number, RunInterrupted(REASON, seconds if number == run else 0.0))
    numbers = " ".join(map(str, unfinished))
    database = f"--db {shlex.quote(str(target))}"
    how = f"to go on: eetui resume {numbers} {database}" if numbers else f"to see it: eetui ls {database}"
    return VanishedError(f"{gone}: all that it held is in {target} now; {how}")


def _end_all(outbox: Outbox, copy: Writer, seconds: float) -> None:
    """Bring the weights to a copy of the database, store what waits, and end all runs of this process there."""
    for number in copy.own_runs():
        carry_checkpoint(outbox.store.path, copy.path, number)
    outbox.move_to(copy)
    if outbox.state.status in LIVE:
        outbox.checkpoint.folder = beside(copy.path, outbox.run)
        outbox.end(RunInterrupted(REASON, seconds))
    for number in copy.own_runs(live=True):
        copy.end(number, RunInterrupted(REASON, 0.0))


def _written(store: Writer) -> Path | None:
    """Write the database to the nearest place that takes it; None if none does."""
    for target in places_near(real_path(store.path)):
        try:
            with open(target, "xb"):
                pass
        except OSError:
            continue
        try:
            store.copy_to(target)
        except (OSError, StoreError):
            with contextlib.suppress(OSError):
                target.unlink()
            continue
        return target
    return None
