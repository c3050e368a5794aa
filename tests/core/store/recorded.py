"""Events to store, and helpers that store them."""

import math
import sqlite3
from array import array
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from core.events import (
    Epoch,
    Event,
    Measured,
    RunFinished,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.protocol.order import EVALUATION, block_stage
from core.state import RunState, reduce_all
from core.store.new_runs import NewRun
from core.store.schema import migrations
from core.store.writer import Writer

EVENTS: list[Event] = [
    RunStarted((block_stage(0, "lm"), block_stage(0, "hard"), EVALUATION), 100, 20, 30, (1, 1), 999),
    StageStarted("block0.lm", "lm", 0, 5, 2, 80),
    Step("block0.lm", 1, 1, 3.5, 40, 0.5),
    Step("block0.lm", 1, 2, 3.0, 40, 0.25),
    Epoch("block0.lm", 1, 3.25, 3.125, None, None, True, 3, 1.0),
    StageEnded("block0.lm", 1.5),
    StageStarted("block0.hard", "hard tokens", 0, 1, 1, 80),
    Threshold("block0.hard", 0, 0.125, 80, 40, (40, 40)),
    StageEnded("block0.hard", 0.5),
    Measured("evaluation", "early exit", None, "eval", "all", 20, 2.0, 0.25, (0.5, 0.5), 0.25, (1.5, 2.5)),
    Measured("evaluation", "oracle", None, "eval", "all", 20, 1.0, 0.5, (0.75, 0.25), 0.375),
    Warned("be careful"),
    RunFinished(4.0, 12345),
]
UNSTORABLE = Measured("evaluation", "early exit", None, "eval", "all", 20, math.nan, 0.25, (0.5, 0.5), 0.25)
"""What the store refuses: no loss."""


def new(name: str | None = None, method: str = "loss", tags: tuple[str, ...] = (), **record: str) -> NewRun:
    return NewRun(name, method, 42, "seed", '{"seed": 42}', {"host": "here", **record}, tags)


def block_tokens(block: int, first: float, last: bool = False) -> TokensMeasured:
    """Two tokens' statistics; `first` tells them from others."""
    signal = array("f", [] if last else [0.25, 0.5])
    columns = (array("f", [first, 2.5]), signal, array("f", [0.75, 0.125]), array("i", [7, 70_000]))
    return TokensMeasured(block, *(column.tobytes() for column in columns))


def without_steps(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Step)]


def kept(events: list[Event]) -> list[Event]:
    return [event.without_windows() if isinstance(event, Measured) else event for event in events]


def store(writer: Writer, run: int, events: list[Event], size: int = 3) -> RunState:
    state = RunState()
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        state = reduce_all(state, batch)
        writer.append(run, batch, state)
    return state


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return names


def make_older(path: Path) -> None:
    """Make a database of the second version, with a run `old`."""
    with closing(sqlite3.connect(path)) as connection:
        migrations().apply(Database(connection), stop_before="results")
        connection.execute(
            "INSERT INTO runs (experiment, name, method, seed, status, config, record, created) "
            "VALUES (1, 'old', 'loss', 42, 'finished', '{}', '{}', 0)"
        )
        connection.commit()
        connection.execute("PRAGMA user_version = 2")
