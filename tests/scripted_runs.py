"""Databases of scripted runs that need no training and are always the same."""

import json
import math
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.run_config import Layer, RunConfig, build
from core.events import (
    Epoch,
    Event,
    Measured,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
    Way,
)
from core.extensions.kinds import EXIT_METHODS
from core.protocol.order import EVALUATION, Part, block_stage
from core.state import RunState, reduce_all
from core.store.liveness import this_process
from core.store.new_runs import NewRun
from core.store.sweeps import Cell, create_sweep
from core.store.tokens import EvaluationText
from core.store.writer import Writer
from core.sweeps.spec import Spec

if TYPE_CHECKING:
    from core.session.plan import Plan
    from eetui.console.training_thread import Request

PARTS: tuple[Part, ...] = ("lm", "statistics", "exit", "hard")
PLANNED = (*(block_stage(block, part) for block in range(2) for part in PARTS), EVALUATION)
STAGES = tuple(stage.name for stage in PLANNED)
RECORD = {
    "corpus": "pydocs", "fingerprint": "f" * 64, "tokenizer": "bpe", "vocab_size": 4096, "device": "cpu", "threads": 1,
    "dtype": "float32", "host": "bench", "python": "3.11.2", "packages": {"torch": "2.13.0"},
    "command": "eetui run --no-ui", "git_commit": "0123456789abcdef", "git_dirty": False,
}  # fmt: skip
WINDOWS, WIDTH = 40, 8
TINY: dict[str, object] = {
    "num_samples": 120, "seq_len": 4, "batch_size": 4, "dim": 8, "num_heads": 2, "ffn_dim": 16, "block_layers": (1, 1),
    "max_epochs": 2, "exit_epochs": 2,
}  # fmt: skip


def config(method: str = "loss", seed: int = 42, **values: object) -> RunConfig:
    """Return a config as the store holds it."""
    return build([Layer("test", {"method": method, "seed": seed, "device": "cpu", "threads": 1, **values})])


def tiny_plan(text: Path, *methods: str, **values: object) -> "Plan":
    """Plan an experiment on a text file that trains in a fraction of a second; keywords are leaf names of config."""
    from core.session.plan import Plan

    chosen = TINY | {"corpus": str(text), **values}
    return Plan(tuple(config(method, **chosen) for method in methods), (None,) * len(methods), "quick")


def tiny_request(text: Path, *methods: str, **values: object) -> "Request":
    """Return a request for such an experiment."""
    from core.session.prepare import prepare

    return partial(prepare, tiny_plan(text, *methods, **values))


def scripted(method: str = "loss", epochs: int = 4, steps: int = 5) -> Iterator[Event]:
    """Yield the events of a whole run of two blocks; figures depend on the method only."""
    worse = {"loss": 0.0, "distill": 0.01, "softmax": 0.03}.get(method, 0.02)
    yield RunStarted(PLANNED, 64_000, WINDOWS * WIDTH, 4096, (2, 2), 655_360, eval_bytes=4 * WINDOWS * WIDTH)
    for block in range(2):
        yield from _language_model(f"block{block}.lm", block, epochs, steps, worse)
        yield from _instant(f"block{block}.statistics", "statistics", block)
        if block == 0:
            yield _measured("block0.statistics", "as trained", 5.35, (1.0, 0.0), 0)
        if EXIT_METHODS.declared(method)["learns"]:
            yield from _classifier(f"block{block}.exit", block)
        yield from _hard(f"block{block}.hard", block)
    yield StageStarted("evaluation", "evaluation", None, 1, 1, WINDOWS * WIDTH)
    yield Step("evaluation", 1, 1, None, WINDOWS * WIDTH, 0.1)
    yield _measured("evaluation", "early exit", 5.36 + worse, (0.5 + worse, 0.5 - worse))
    yield _measured("evaluation", "alone", 5.51 + worse, (1.0, 0.0), 0)
    yield _measured("evaluation", "all blocks", 5.28 + worse, (0.0, 1.0))
    yield _measured("evaluation", "oracle", 5.03 + worse, (0.55, 0.45))
    yield StageEnded("evaluation", 0.1)
    yield Warned("early exit loses to block 0 as trained")
    yield RunFinished(12.5, 300 * 2**20)


def state_of(events: Iterable[Event]) -> RunState:
    return reduce_all(RunState(), events)


def until(events: Iterator[Event], stage: str, epoch: int) -> list[Event]:
    """Return the events up to that epoch of that stage: a run half-way through."""
    kept: list[Event] = []
    for event in events:
        kept.append(event)
        if isinstance(event, Epoch) and event.stage == stage and event.epoch == epoch:
            break
    return kept


def add(
    writer: Writer,
    events: Sequence[Event],
    method: str = "loss",
    seed: int = 42,
    name: str | None = None,
    tags: tuple[str, ...] = (),
) -> int:
    """Store a run with these events, in an experiment of its own; return its number."""
    new = NewRun(name, method, seed, "quick", config(method, seed).model_dump_json(), RECORD, tags)
    (run,) = writer.create_experiment([new])
    append(writer, run, events)
    return run


def append(writer: Writer, run: int, events: Sequence[Event], before: Sequence[Event] = ()) -> None:
    """Store further events of a run that already has those of `before`."""
    if events:
        writer.append(run, events, reduce_all(RunState(), [*before, *events]))


def make_database(path: Path) -> Path:
    """Store six runs: three finished ones (1 loss, 2 distill, 3 softmax), 4 failed, 5 interrupted, 6 queued."""
    with Writer(path) as writer:
        for method in ("loss", "distill", "softmax"):
            add(writer, list(scripted(method)), method, tags=("tiny",))
        half = until(scripted(), "block0.lm", 2)
        add(writer, [*half, RunFailed("block0.lm diverged in epoch 3: lower train.lr", "Traceback …", 3.0)])
        add(writer, [*half, RunInterrupted("stopped by the user", 2.0)], name="stopped-early")
        add(writer, [], "correct")
    return path


VOCABULARY = ["\n", " the", " model", "ling", " exits", " early", ".", "\n    ", " words", "\ufffd"]


def keep_tokens(writer: Writer, run: int, blocks: int = 2) -> None:
    """Store the evaluation text of scripted runs, and the statistics of its tokens after each block of a run.

    The signal of token n after block 0 is (n % 20) / 20; block 0 predicts every third token correctly, the last block
    every second. Losses are 6 − signal nats, one less after each further block.
    """
    tokens = WINDOWS * WIDTH
    stream = array("i", [n * 7 % len(VOCABULARY) for n in range(tokens + 1)])
    writer.keep_text(RECORD["fingerprint"], EvaluationText(VOCABULARY, stream))
    signal = array("f", [n % 20 / 20 for n in range(tokens)])
    events = []
    for block in range(blocks):
        losses = array("f", [6 - value - block for value in signal])
        every = 2 if block == blocks - 1 else 3
        guesses = array("i", [(stream[n + 1] + (n % every > 0)) % len(VOCABULARY) for n in range(tokens)])
        exits = signal if block < blocks - 1 else array("f")
        columns = (losses, exits, array("f", [0.25] * tokens), guesses)
        events.append(TokensMeasured(block, *(column.tobytes() for column in columns)))
    append(writer, run, events, list(scripted()))


SWEPT_METHODS, SWEPT_RATIOS = ("loss", "softmax"), (0.3, 0.5, 0.7)


def keep_sweep(path: Path, name: str) -> Path:
    """Store a sweep of two methods, three hard ratios and two seeds; the last run waits."""
    places = [(method, ratio) for method in SWEPT_METHODS for ratio in SWEPT_RATIOS]
    cells = [
        Cell(
            NewRun(None, method, seed, "quick", config(method, seed).model_dump_json(), RECORD),
            place, {"method": method, "exit.hard_ratio": ratio}, {}, "origin",
        )
        for seed in (1, 2)
        for place, (method, ratio) in enumerate(places)
    ]  # fmt: skip
    spec = Spec({}, {"method": SWEPT_METHODS, "exit.hard_ratio": SWEPT_RATIOS}, 1, 2).as_plain()
    with Writer(path) as writer:
        create_sweep(writer, name, spec, cells)
    with closing(sqlite3.connect(path)) as connection, connection:
        (last,) = connection.execute("SELECT max(id) FROM runs").fetchone()
        before = last - len(cells)
        connection.execute(
            "UPDATE runs SET status = 'finished', final_ppl = 100 + id - :before + seed / 8.0, accuracy = 0.2, "
            "flop_savings = (id - :before) / 100.0 WHERE id > :before AND id < :last",
            {"before": before, "last": last},
        )
    connection.close()
    return path


def many_runs(path: Path, count: int) -> Path:
    """Create a database of `count` finished runs without events, fast."""
    with Writer(path):
        pass
    texts = {method: config(method).model_dump_json() for method in ("loss", "distill", "softmax")}
    methods, seed = tuple(texts), f'"seed":{config().seed}'
    record = json.dumps(RECORD)
    rows = [
        (n, (n + 2) // 3, f"run-{n}", methods[n % 3], n, "quick", "finished",
         texts[methods[n % 3]].replace(seed, f'"seed":{n}'), record,
         1e9 + n, 1e9 + n, 1e9 + n + 60, *this_process().values(), 300 + n % 97, 200 + n * 37 % 1009,
         0.1 + n % 89 / 1000, 0.5, 0.25, 60.0)
        for n in range(1, count + 1)
    ]  # fmt: skip
    columns = (
        "id, experiment, name, method, seed, preset, status, config, record, created, started, ended, pid, host, "
        "process, block0_val_ppl, final_ppl, accuracy, shallow_ratio, layer_savings, seconds"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * 21)})", rows)
    connection.close()
    return path


def _language_model(stage: str, block: int, epochs: int, steps: int, worse: float) -> Iterator[Event]:
    yield StageStarted(stage, "lm", block, 10, steps, 51_200, bytes_per_token=4.0, val_bytes_per_token=4.0)
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            done = (epoch - 1) * steps + step
            yield Step(stage, epoch, step, 4.3 + 4 * math.exp(-done / 6) + 0.1 * math.sin(7 * done), 10_240, 0.5)
        better = epoch < 4
        validation = 4.6 + worse + 3 * math.exp(-min(epoch, 3)) + (0.0 if better else 0.05)
        yield Epoch(stage, epoch, 4.3 + 4 * math.exp(-epoch), validation, None, None, better, 3 if better else 2, 2.5)
    yield StageEnded(stage, epochs * 2.5)


def _classifier(stage: str, block: int) -> Iterator[Event]:
    yield StageStarted(stage, "exit classifier", block, 3, 1, 64_000)
    for epoch in range(1, 4):
        yield Step(stage, epoch, 1, 0.05 / epoch, 64_000, 0.1)
        yield Epoch(stage, epoch, 0.05 / epoch, None, 0.05 / epoch, 0.1236, True, None, 0.1)
    yield StageEnded(stage, 0.3)


def _hard(stage: str, block: int) -> Iterator[Event]:
    histogram = tuple(round(3000 * math.exp(-(((place - 6) / 5) ** 2))) for place in range(50))
    yield StageStarted(stage, "hard tokens", block, 1, 1, sum(histogram))
    yield Threshold(stage, block, 0.13, sum(histogram), sum(histogram[:6]), histogram)
    yield StageEnded(stage, 0.0)


def _instant(stage: str, kind: str, block: int) -> Iterator[Event]:
    yield StageStarted(stage, kind, block, 1, 1, 64_000)  # type: ignore[arg-type]
    yield Step(stage, 1, 1, None, 64_000, 0.1)
    yield StageEnded(stage, 0.1)


def _measured(stage: str, way: Way, loss: float, shares: tuple[float, ...], block: int | None = None) -> Measured:
    losses = tuple(loss + 0.3 * math.sin(window) for window in range(WINDOWS))
    saved = shares[0] * 0.5
    windows = ((figure,) * WINDOWS for figure in (0.17, saved, 0.8 * saved))
    return Measured(stage, way, block, "eval", "all", WINDOWS * WIDTH, loss, 0.17, shares, saved, losses, *windows)
