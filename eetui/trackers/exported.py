"""Stored runs in a tracker."""

from collections.abc import Sequence
from contextvars import copy_context
from pathlib import Path

from core.errors import EetuiError, TrackerError
from core.store.log import log_entries
from core.store.reader import Reader
from eetui.trackers.contract import Ending, Tracker, tracker
from eetui.trackers.mirror import Mirror


def export_to(name: str, folder: Path, reader: Reader, numbers: Sequence[int]) -> None:
    """Write stored runs to a tracker's folder, in place of what it has of them.

    Raises:
        UsageError: there is no such tracker, or it is not installed.
        TrackerError: the tracker did not take a run.
    """
    new = tracker(name, folder)
    for number in numbers:
        try:  # in a context of its own: a tracker may keep its current run in one, and end it again, aloud, at exit
            copy_context().run(_export, new(), reader, number)
        except EetuiError:
            raise
        except Exception as error:  # whatever a tracker raises
            raise TrackerError(
                f"{name} did not take run {number} into {folder} ({type(error).__name__}: {error})"
            ) from error


def _export(new: Tracker, reader: Reader, number: int) -> None:
    """Write a stored run to a tracker."""
    row = reader.run(number)
    ending: Ending = row["status"] if row["status"] in ("finished", "failed") else "interrupted"
    mirror, time = Mirror(new, row), row["created"]
    for entry in log_entries(reader, number):
        if not entry.superseded:
            time = entry.time
            mirror.take(entry.events, time)
    mirror.end(ending, time)
