"""The text that runs were evaluated on: plain arrays, packed by zlib."""

from __future__ import annotations  # array[int] can't be evaluated before Python 3.12

import json
import sqlite3
import zlib
from array import array
from dataclasses import dataclass

from core.store.rows import insert


@dataclass(frozen=True)
class EvaluationText:
    """The evaluated tokens, one more than there are predictions, and what each entry of the vocabulary looks like.

    Runs on the same tokens share it, whatever their windows: each has evaluated a prefix, as long as its own arrays.
    """

    vocabulary: list[str]
    stream: array[int]

    @property
    def inputs(self) -> array[int]:
        """The token that each prediction follows."""
        return self.stream[:-1]

    @property
    def targets(self) -> array[int]:
        """The token that was to be predicted."""
        return self.stream[1:]


def keep_text(connection: sqlite3.Connection, fingerprint: str, text: EvaluationText) -> None:
    """Store the evaluation text of a corpus, unless it is there already, as long or longer."""
    there = connection.execute("SELECT stream FROM texts WHERE fingerprint = ?", [fingerprint]).fetchone()
    if there is None or len(integers(there[0])) < len(text.stream):
        row = {
            "fingerprint": fingerprint,
            "vocabulary": zlib.compress(json.dumps(text.vocabulary).encode()),
            "stream": zlib.compress(text.stream.tobytes()),
        }
        insert(connection, "texts", [row], where_taken="REPLACE")


def drop_unread_texts(connection: sqlite3.Connection) -> None:
    """Delete the texts that no run is on any more."""
    fingerprints = "SELECT json_extract(record, '$.fingerprint') AS fingerprint FROM runs"
    connection.execute(
        "DELETE FROM texts WHERE fingerprint NOT IN "
        f"(SELECT fingerprint FROM ({fingerprints}) WHERE fingerprint IS NOT NULL)"
    )


def floats(packed: bytes) -> array[float]:
    """Read a float32 array."""
    return array("f", packed)


def integers(packed: bytes) -> array[int]:
    """Unpack an int32 array."""
    return array("i", zlib.decompress(packed))
