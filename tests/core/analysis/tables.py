"""Token tables for tests, and the blocks their tokens leave at by a plain loop."""

from array import array
from collections.abc import Sequence

import numpy as np

from core.analysis.token_table import TokenTable
from core.data.windows import Windows
from core.store.tokens import EvaluationText


def random_table(blocks: int = 3, tokens: int = 400, seed: int = 0, levels: int = 40) -> TokenTable:
    """Return a table of independent losses, signals and predictions; the signals have few levels, so that many tie."""
    draw = np.random.default_rng(seed)
    return TokenTable(
        cross_entropy=draw.gamma(2, 2, (blocks, tokens)).astype(np.float32),
        signal=(draw.integers(0, levels, (blocks - 1, tokens)) / levels).astype(np.float32),
        max_prob=draw.random((blocks, tokens), dtype=np.float32),
        prediction=draw.integers(0, 3, (blocks, tokens)).astype(np.int32),
        inputs=draw.integers(0, 3, tokens).astype(np.int32),
        targets=draw.integers(0, 3, tokens).astype(np.int32),
        seq_len=8,
    )


def knowing_table(blocks: int, tokens: int, seed: int = 0, levels: int = 0, seq_len: int = 4) -> TokenTable:
    """Return a table whose signals correlate with the loss; with few levels of the signal many tie."""
    draw = np.random.default_rng(seed)
    loss = draw.gamma(2, 1, tokens) + draw.normal(0, 0.3, (blocks, tokens)) + 0.1 * np.arange(blocks)[::-1, None]
    loss = np.abs(loss).astype(np.float32)
    signal = np.exp(-loss[:-1] * draw.uniform(0.5, 1.5, (blocks - 1, tokens))).astype(np.float32)
    if levels:
        signal = np.round(signal * levels) / np.float32(levels)
    prediction = draw.integers(0, 3, (blocks, tokens), dtype=np.int32)
    inputs, targets = draw.integers(0, 3, (2, tokens), dtype=np.int32)
    return TokenTable(loss, signal, np.exp(-loss / 2), prediction, inputs, targets, seq_len)


def bare_table(loss: np.ndarray, signal: np.ndarray, seq_len: int = 4) -> TokenTable:
    """Return a table of which only losses `[K, N]` and signals `[E, N]` matter."""
    zeros = np.zeros(loss.shape[1], np.int32)
    return TokenTable(loss, signal, np.zeros_like(loss), np.zeros(loss.shape, np.int32), zeros, zeros, seq_len)


def text_of(windows: Windows) -> EvaluationText:
    """Return consecutive windows as a stored text."""
    stream = [*windows.inputs.flatten().tolist(), int(windows.targets[-1, -1])]
    return EvaluationText([], array("i", stream))


def left_at_by_hand(table: TokenTable, thresholds: Sequence[float]) -> list[int]:
    """Return the block that each token leaves at, token by token and block by block."""
    left = []
    for token in range(table.tokens):
        block = 0
        while block < len(thresholds) and table.signal[block][token] < np.float32(thresholds[block]):
            block += 1
        left.append(block if block < len(thresholds) else len(table.cross_entropy) - 1)
    return left
