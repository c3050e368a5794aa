"""Runs with invented statistics of their tokens, stored as a training stores them."""

from array import array
from pathlib import Path

import numpy as np

from core.config.run_config import RunConfig
from core.events import (
    Event,
    Measured,
    RunFinished,
    RunStarted,
    StageEnded,
    StageStarted,
    Threshold,
    TokensMeasured,
    Way,
)
from core.protocol.order import EVALUATION
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun
from core.store.tokens import EvaluationText
from core.store.writer import Writer

SEQ_LEN = 16


def store_run(
    path: Path,
    windows: int = 400,
    blocks: int = 2,
    method: str = "loss",
    spread: float = 0.2,
    measured: float = 0.0,
    exited_state: str = "copy",
) -> int:
    """Store a run whose exits cost `0.2 · (0.5 − signal)` nats a token on average; return its number.

    Args:
        spread: standard deviation of a token's excess loss, in nats.
        measured: nats that the measured early exit loses against all blocks.
    """
    draw = np.random.default_rng(windows)
    count = windows * SEQ_LEN
    signal = draw.random((blocks - 1, count))
    loss = np.full((blocks, count), 3.0)
    loss[:-1] += 0.2 * (0.5 - signal) + draw.normal(0, spread, signal.shape)
    prediction = draw.integers(0, 4, (blocks, count))
    stream = array("i", [*draw.integers(0, 4, count + 1).tolist()])
    layers = (2,) * blocks
    config = RunConfig.model_validate(
        {
            "method": method,
            "model": {"block_layers": layers},
            "data": {"seq_len": SEQ_LEN},
            "exit": {"exited_state": exited_state},
        }
    )
    record = {"fingerprint": f"f{windows}", "vocab_size": 4, "corpus": "text", "tokenizer": "word"}
    with Writer(path) as writer:
        (run,) = writer.create_experiment([NewRun(None, method, 1, None, config.model_dump_json(), record)])
        writer.keep_text(f"f{windows}", EvaluationText(list("abcd"), stream))
        events: list[Event] = [
            RunStarted((EVALUATION,), count, count, 4, layers, 1),
            *(event for block in range(blocks - 1) for event in _threshold(block)),
            _measured("early exit", 3.0 + measured, blocks),
            _measured("all blocks", 3.0, blocks),
            *(_tokens(block, loss, signal, prediction) for block in range(blocks)),
            RunFinished(1.0, 1),
        ]
        writer.append(run, events, reduce_all(RunState(), events))
    return run


def _threshold(block: int) -> list[Event]:
    stage = f"block{block}.hard"
    return [
        StageStarted(stage, "hard tokens", block, 1, 1, 1),
        Threshold(stage, block, 0.5, 2, 1, (1, 1)),
        StageEnded(stage, 1.0),
    ]


def _measured(way: Way, loss: float, blocks: int) -> Measured:
    return Measured("evaluation", way, None, "eval", "all", 1, loss, 0.5, (0.5, *[0.0] * (blocks - 2), 0.5), 0.25)


def _tokens(block: int, loss: np.ndarray, signal: np.ndarray, prediction: np.ndarray) -> TokensMeasured:
    signals = signal[block].astype(np.float32).tobytes() if block < len(signal) else b""
    losses = loss[block].astype(np.float32)
    return TokensMeasured(
        block,
        losses.tobytes(),
        signals,
        np.exp(-losses).tobytes(),
        prediction[block].astype(np.int32).tobytes(),
    )
