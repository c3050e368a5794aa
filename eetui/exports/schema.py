"""The columns of exported tables, with a version for each table; `docs/schema.md` is held to them by a test.

A version counts up when a column changes its name, its type or its meaning, or goes; a new column leaves it as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["int64", "int32", "int16", "float32", "float64", "bool", "text", "word", "time"]
"""Type of a column; `word` is a text of few different ones, `time` seconds since 1970 that are written as a date."""


@dataclass(frozen=True)
class Column:
    """A column of an exported table, and what it holds."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True)
class Table:
    """An exported table: `name` and `version` are written to the metadata of a Parquet file."""

    name: str
    version: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, eq=False)
class Words:
    """A column of texts of few different ones: `texts[code]` for each row, nothing where a code is masked."""

    codes: "np.ma.MaskedArray[Any, Any]"
    texts: Sequence[str]

    def tolist(self) -> list[str | None]:
        """Return the text of each row."""
        return [None if code is None else self.texts[code] for code in self.codes.tolist()]


Chunk = Mapping[str, Any]
"""Some rows of a table: the values of each column, as array (masked where they are missing), list or `Words`."""

TOKENS = Table(
    "tokens",
    1,
    (
        Column("run", "int64", "number of the run"),
        Column("run_name", "word", "its name"),
        Column("window", "int32", "evaluation window, from 0"),
        Column("position", "int32", "place of the token in its window, from 0"),
        Column("block", "int16", "block whose figures the row holds, from 0"),
        Column("input", "int32", "id of the token that was read"),
        Column("target", "int32", "id of the token that was to be predicted"),
        Column("text", "word", "text of the target; � where its bytes are no text by themselves"),
        Column("cross_entropy", "float32", "loss at the block, nats"),
        Column("signal", "float32", "exit signal at the block; missing for the last block, and without exits"),
        Column("max_prob", "float32", "largest probability at the block"),
        Column("prediction", "int32", "id of the most probable token at the block"),
        Column("predicted_text", "word", "its text"),
        Column(
            "left_at", "int16", "block that the token leaves at with the run's thresholds; the same in all its rows"
        ),
    ),
)
"""One row a token and block, in that order. All tokens went through all blocks."""

EVENTS = Table(
    "events",
    1,
    (
        Column("run", "int64", "number of the run"),
        Column("run_name", "word", "its name"),
        Column("seq", "int64", "entry of the log; the steps of a tenth of a second share one"),
        Column("time", "time", "when the entry was stored, UTC"),
        Column("superseded", "bool", "whether the run was started again afterwards, which voids the row"),
        Column("type", "word", "kind of event, a class of core.events"),
        Column("stage", "word", "stage of the run"),
        Column("block", "int16", "block that the event is about"),
        Column("epoch", "int32", "epoch, from 1"),
        Column("step", "int64", "step of the epoch, from 1"),
        Column("loss", "float64", "mean loss, nats in LM stages"),
        Column("val_loss", "float64", "mean loss on the early-stopping split, nats"),
        Column("tokens", "int64", "number of tokens"),
        Column("seconds", "float64", "duration"),
        Column("data", "text", "all fields of the event, as JSON"),
    ),
)
"""One row an event, in the order in which they happened."""
