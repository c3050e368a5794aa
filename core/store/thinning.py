"""Thinning of the steps of long stages: the smallest and the largest loss of each bucket are kept.

A curve of what is kept looks like that of all of them. Epochs are kept, and so is the last step of each; the tokens and
seconds of the steps that go are added to the next one that stays, so that sums and rates stay what they were.
"""

import json
import sqlite3
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import groupby

from core.events import Event, RunStarted, Step
from core.store import codec

MOST_STEPS = 20_000
"""Stored steps of a stage beyond which they are thinned, to about half of that."""

Row = tuple[int, str]
"""Place in the log, and data."""


class Thinning:
    """Keeps the stored steps of every stage below a limit, by the steps that this process stores."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._stage: tuple[int, str] | None = None
        self._stored, self._limit = 0, MOST_STEPS

    def make_room(self, run: int, events: Sequence[Event]) -> None:
        """Thin the stages of events that are about to be stored, if they have too many steps. In a transaction.

        What is thinned was stored before, so that whoever follows the log has most likely read it.
        """
        stages = (event.stage for event in events if isinstance(event, Step))
        for stage, group in groupby(stages):
            if self._stage != (run, stage):  # stages follow one another
                self._stage, self._limit = (run, stage), MOST_STEPS
                self._stored = sum(len(json.loads(data)["step"]) for _, data in _rows(self._connection, run, stage))
            if self._stored > self._limit:
                self._stored = thin(self._connection, run, stage)
                self._limit = max(MOST_STEPS, 2 * self._stored)
            self._stored += sum(1 for _ in group)


def thin(connection: sqlite3.Connection, run: int, stage: str) -> int:
    """Thin the stored steps of a stage; return how many are left. The caller has a transaction open."""
    query = "SELECT seq FROM events WHERE run_id = ? AND type = ? ORDER BY seq"
    starts = [row[0] for row in connection.execute(query, [run, RunStarted.__name__])]
    rows = _rows(connection, run, stage)
    parts = [
        list(group) for _, group in groupby(rows, lambda row: (bisect(starts, row[0]), json.loads(row[1])["epoch"]))
    ]
    epochs = [(part, _steps(part)) for part in parts]
    width = bucket_width(sum(max(step.step for step in steps) for _, steps in epochs))
    return sum(_replace(connection, run, part, list(thinned(steps, width))) for part, steps in epochs)


def bucket_width(steps: int) -> int:
    """Return the number of steps to a bucket, a power of two so that what is thinned again has the same buckets."""
    width = 1
    while 4 * steps > width * MOST_STEPS:
        width *= 2
    return width


def thinned(steps: Sequence[Step], width: int) -> Iterator[Step]:
    """Yield the smallest and the largest loss of each bucket of an epoch's steps, in their order, and the last step."""
    tokens, seconds = 0, 0.0
    for _, group in groupby(steps, lambda step: (step.step - 1) // width):
        bucket = list(group)
        by_loss = sorted(bucket, key=lambda step: (step.loss is not None, step.loss or 0.0))
        for step in bucket:
            tokens, seconds = tokens + step.tokens, seconds + step.seconds
            if step is by_loss[0] or step is by_loss[-1] or step is steps[-1]:
                yield Step(step.stage, step.epoch, step.step, step.loss, tokens, seconds)
                tokens, seconds = 0, 0.0


def _rows(connection: sqlite3.Connection, run: int, stage: str) -> list[Row]:
    """Read the rows of a stage's steps, without damaged ones."""
    query = (
        "SELECT seq, data FROM events WHERE run_id = ? AND type = ? AND json_valid(data) "
        "AND json_extract(data, '$.stage') = ? ORDER BY seq"
    )
    return [row for row in connection.execute(query, [run, codec.STEPS, stage]).fetchall() if _is_sound(row)]


def _is_sound(row: Row) -> bool:
    try:
        return bool(codec.checked((codec.STEPS, row[1])))
    except codec.UnreadableError:
        return False


def _steps(rows: Sequence[Row]) -> list[Step]:
    return [event for _, data in rows for event in codec.decode((codec.STEPS, data)) if isinstance(event, Step)]


def _replace(connection: sqlite3.Connection, run: int, rows: Sequence[Row], steps: Sequence[Step]) -> int:
    """Put steps into the last of an epoch's rows, so that whoever follows the log reads on; return their number."""
    ((_, data),) = codec.encode(steps)
    connection.executemany("DELETE FROM events WHERE run_id = ? AND seq = ?", [(run, seq) for seq, _ in rows[:-1]])
    connection.execute("UPDATE events SET data = ? WHERE run_id = ? AND seq = ?", [data, run, rows[-1][0]])
    return len(steps)
