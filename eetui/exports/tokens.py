"""Rows of the token table: one for each token of a run and each block."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from core.analysis.stored_run import StoredRun, evaluated_tokens, stored_run
from core.analysis.token_table import TokenTable
from core.errors import UsageError
from core.store.reader import Reader
from eetui.exports.schema import Chunk, Words

ROWS = 2**18
"""Most rows of a chunk, which is a row group of a Parquet file, about: it holds whole tokens."""


def token_chunks(reader: Reader, numbers: list[int]) -> Iterator[Chunk]:
    """Yield the rows of runs, one run in memory at a time.

    Raises:
        UsageError: a run has no token statistics.
    """
    for number in numbers:
        run = stored_run(reader, number)
        table, text = evaluated_tokens(reader, run)
        left_at = _left_at(run, table)
        step = max(1, ROWS // table.blocks)
        for start in range(0, table.tokens, step):
            yield _rows(run, table, text.vocabulary, left_at, slice(start, min(start + step, table.tokens)))


def _left_at(run: StoredRun, table: TokenTable) -> Any:
    """Return the block that each token leaves at with the run's thresholds; masked if it has not set them."""
    try:
        return np.ma.masked_array(table.left_at(run.thresholds), mask=False)
    except (UsageError, ValueError):
        return np.ma.masked_array(np.zeros(table.tokens, np.int16), mask=True)


def _rows(run: StoredRun, table: TokenTable, vocabulary: list[str], left_at: Any, some: slice) -> Chunk:
    """Return the rows of some tokens, each with its blocks one after the other."""
    blocks = table.blocks
    place = np.arange(some.start, some.stop, dtype=np.int32)
    signal = np.ma.masked_array(np.zeros((blocks, len(place)), np.float32), mask=True)
    signal[: table.exits] = table.signal[:, some]
    prediction = table.prediction[:, some].T.ravel()
    target = np.repeat(table.targets[some], blocks)
    return {
        "run": np.full(len(place) * blocks, run.number, np.int64),
        "run_name": Words(np.ma.zeros(len(place) * blocks, np.int32), [run.name]),
        "window": np.repeat(place // table.seq_len, blocks),
        "position": np.repeat(place % table.seq_len, blocks),
        "block": np.tile(np.arange(blocks, dtype=np.int16), len(place)),
        "input": np.repeat(table.inputs[some], blocks),
        "target": target,
        "text": _texts(target, vocabulary),
        "cross_entropy": table.cross_entropy[:, some].T.ravel(),
        "signal": signal.T.ravel(),
        "max_prob": table.max_prob[:, some].T.ravel(),
        "prediction": prediction,
        "predicted_text": _texts(prediction, vocabulary),
        "left_at": np.ma.repeat(left_at[some], blocks),
    }


def _texts(ids: Any, vocabulary: list[str]) -> Words:
    """Return the texts of ids; a padded head predicts ids that no text has."""
    return Words(np.ma.masked_array(ids, mask=(ids < 0) | (ids >= len(vocabulary))), vocabulary)
