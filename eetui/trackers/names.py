"""Names of runs in trackers: readable, and no other run's, of whatever database."""

import hashlib
import re

from eetui.trackers.contract import TrackedRun

LONGEST = 60
"""Characters of a run's own name in the name of its place."""
SHORT = 6
"""Characters of a run's digest in the name of its place."""


def digest(run: TrackedRun) -> str:
    """Return 12 characters that tell the run from every other one, and are the same whenever it is written."""
    return hashlib.sha256(run.key.encode()).hexdigest()[:12]


def place_name(run: TrackedRun) -> str:
    """Return the name of a run's place: number, name as every file system takes it, start of the digest."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", run.name[:LONGEST]).strip("-")
    return "-".join(part for part in (str(run.number), name, digest(run)[:SHORT]) if part)
