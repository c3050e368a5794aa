"""How time and memory grow with the size of things: slopes in log-log; 1 is linear, 2 quadratic, 0 not at all.

    python -m benchmarks.growth [--quick] [--threads 1] [--json FILE]

Time is per token, so only the attention over a longer window may cost more of it, and at most in proportion. Every
point of training and evaluation is a process of its own; its memory is the largest resident size less that before there
was a model.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._report import Figure, Report, number, own_peak

TOKENS = 2048
"""Of a batch, whatever the window's length."""
BASE: dict[str, int] = {"vocabulary": 1024, "seq_len": 32, "layers": 2, "blocks": 1}
AXES: dict[str, tuple[int, ...]] = {
    "vocabulary": (4096, 8192, 16_384, 32_768, 65_536),
    "seq_len": (32, 64, 128, 256, 512),
    "layers": (2, 4, 8, 16, 32),
    "blocks": (1, 2, 4, 8, 16),
}
RUNS: dict[str, tuple[int, ...]] = {"in the database": (100, 1000, 10_000), "side by side": (4, 16, 64)}
LINEAR = 1.15
"""Slope above which growth counts as more than linear; what lies between is noise."""


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of the straight line through log value against log size, by least squares: the power that it grows with."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values]).slope


def growth(name: str, sizes: Sequence[float], values: Sequence[float]) -> Figure:
    """The slope over all points; its spread is that of the slopes between neighbours."""
    steps = [slope(sizes[place : place + 2], values[place : place + 2]) for place in range(len(sizes) - 1)]
    return Figure(name, "slope", slope(sizes, values), min(steps), max(steps), len(steps), most=LINEAR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="every other point, one round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measured(json.loads(options.point), options.threads)))
        return
    rounds, step = (1, 2) if options.quick else (options.rounds, 1)
    report = Report("Growth", {"threads": options.threads, "rounds": rounds})
    for axis, sizes in AXES.items():
        training(report, axis, sizes[::step], rounds, options.threads)
    runs(report, rounds)
    report.write(options.json)


def training(report: Report, axis: str, sizes: Sequence[int], rounds: int, threads: int) -> None:
    """One axis: time per token and memory at each size, the rounds going over the sizes in turn."""
    taken: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            taken[size].append(point(axis, size, threads))
    for key, name, unit in (("seconds", "time per token", 1e6), ("bytes", "memory", 1 / 2**20)):
        values = [min(found[key] for found in taken[size]) for size in sizes]
        shown = ", ".join(f"{size:,}: {number(value * unit)}" for size, value in zip(sizes, values, strict=True))
        report.note(f"{name} by {axis} ({'µs' if key == 'seconds' else 'MiB'}): {shown}")
        report.add(growth(f"{name} by {axis}", sizes, values))


def point(axis: str, size: int, threads: int) -> dict[str, float]:
    """One measurement, in a process of its own."""
    text = json.dumps(BASE | {axis: size, "evaluates": axis == "blocks"})
    command = [sys.executable, "-m", "benchmarks.growth", "--threads", str(threads), "--point", text]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(sizes: dict[str, int], threads: int) -> dict[str, float]:
    """Seconds per token of the fastest step, and bytes beyond what a tiny model takes for the libraries' buffers."""
    seconds(sizes | {"vocabulary": 64, "layers": 1}, threads, tokens=sizes["seq_len"])
    before = own_peak()
    fastest = min(seconds(sizes, threads, TOKENS))
    return {"seconds": fastest / TOKENS, "bytes": 1.0 * max(1024, own_peak() - before)}


def seconds(sizes: dict[str, int], threads: int, tokens: int) -> list[float]:
    """Of some steps on so many tokens each: of training a block or, against the number of blocks, of evaluation."""
    import torch

    from core.config.run_config import Layer, build
    from core.data.batches import reading_windows
    from core.data.windows import Windows
    from core.model import new_model

    torch.set_num_threads(threads)
    seq_len = sizes["seq_len"]
    values = {
        "seq_len": seq_len, "batch_size": tokens // seq_len, "block_layers": (sizes["layers"],) * sizes["blocks"],
        "method": "loss", "device": "cpu", "threads": threads,
    }  # fmt: skip
    config = build([Layer("benchmark", values)])
    model = new_model(config, sizes["vocabulary"])
    read = reading_windows(config) if sizes["evaluates"] and tokens == TOKENS else config.train.batch_size
    inputs, targets = torch.randint(sizes["vocabulary"], (2, 3 * read, seq_len)).unbind()
    work = evaluating if sizes["evaluates"] else stepping
    return list(work(model, Windows(inputs, targets), config))


def stepping(model: Any, windows: Any, config: Any) -> Iterator[float]:
    """Seconds of training steps on the first batch."""
    from torch import arange

    from core.stages.block_data import from_tokens
    from core.stages.trainer import Trainer

    trainer = Trainer(model, {0: 1.0}, from_tokens(model, windows.inputs, windows.targets), config, "growth", 1)
    batch = arange(config.train.batch_size)
    for _ in range(6):
        began = time.perf_counter()
        trainer.step(batch)
        yield time.perf_counter() - began


def evaluating(model: Any, windows: Any, config: Any) -> Iterator[float]:
    """Seconds of an evaluation's steps, of as many tokens as a training step has: early exit and every static depth."""
    from core.evaluation.evaluate import evaluate
    from core.events import Step

    thresholds = [0.5] * (len(config.model.block_layers) - 1)
    for _ in range(2):
        steps = [event for event in evaluate(model, thresholds, windows, config, "growth") if isinstance(event, Step)]
        yield from (step.seconds * TOKENS / step.tokens for step in steps[:3])  # those after time early exit alone


def runs(report: Report, rounds: int) -> None:
    """Listing and comparing, against the number of runs there are and of runs that are compared."""
    with tempfile.TemporaryDirectory() as name:
        for kind, sizes in RUNS.items():
            found = [run_times(Path(name) / f"{kind} {size}.db", kind, size, rounds) for size in sizes]
            for command in found[0]:
                values = [times[command] for times in found]
                shown = ", ".join(f"{size:,}: {number(1e3 * v)}" for size, v in zip(sizes, values, strict=True))
                report.note(f"{command} by runs {kind} (ms): {shown}")
                report.add(growth(f"{command} by runs {kind}", sizes, values))


def run_times(database: Path, kind: str, size: int, rounds: int) -> dict[str, float]:
    """Seconds of what the commands do once they are imported."""
    from eetui.cli.compare import views_of
    from eetui.compare.comparison import compare
    from eetui.compare.tables_text import as_markdown

    many_with_events(database, size if kind == "in the database" else 100, 3 if kind == "in the database" else size)
    commands: dict[str, Callable[[], object]] = {"compare": lambda: as_markdown(compare(views_of([], database)))}
    if kind == "in the database":
        commands["ls"] = lambda: listing(database)
    return {name: min(clocked(command) for _ in range(rounds + 1)) for name, command in commands.items()}


def many_with_events(database: Path, count: int, compared: int) -> None:
    """A database in which so many runs, one experiment, have the events of a whole run."""
    from core.store.new_runs import NewRun
    from core.store.reader import Reader
    from core.store.writer import Writer
    from tests.scripted_runs import RECORD, append, config, many_runs, scripted

    many_runs(database, count)
    text = [config(method, seed).model_dump_json() for seed in range(compared) for method in ("loss", "softmax")]
    new = [NewRun(None, "loss", 42 + place, "quick", text[place], RECORD, ()) for place in range(compared)]
    with Writer(database) as writer:
        for run in writer.create_experiment(new):
            append(writer, run, list(scripted()))
    with Reader(database) as reader:
        assert len(reader.latest_experiment()) == compared


def listing(database: Path) -> str:
    from core.store.reader import Reader
    from eetui.runs.list_text import runs_lines

    with Reader(database) as reader:
        return "\n".join(runs_lines(reader.runs(), 200, colour=False))


def clocked(work: Callable[[], object]) -> float:
    """Seconds of the processor's time, which other programs do not lengthen."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
