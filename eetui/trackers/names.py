"""Names of runs that a file system takes."""

import re

from eetui.trackers.contract import TrackedRun

LONGEST = 60
"""Characters of a run's name in the name of its folder."""


def folder_name(run: TrackedRun) -> str:
    """Return the name of a run's folder: its number, then of its name what every file system takes."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", run.name[:LONGEST]).strip("-")
    return f"{run.number}-{name}" if name else str(run.number)
