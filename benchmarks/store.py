"""Events through the session into SQLite: how many a second, and what a training step waits for them.

    python -m benchmarks.store [--quick] [--json FILE]

A step has three figures: loss, tokens, seconds. The training is a stand-in that yields steps, an epoch's end after
every so many, and notes how long each step is held up; everything after it is the real session, codec and database.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from benchmarks._report import Report, figure
from core.data.windows import Dataset
from core.events import Epoch, Event, RunFinished, RunStarted, StageEnded, StageStarted, Step
from core.protocol.memory import StageMemory
from core.protocol.order import block_stage
from core.session import run as session
from core.state import RunState
from core.store.reader import Reader
from core.store.writer import Writer
from tests.scripted_runs import add, config

FIGURES = 3
"""Of a step."""
PER_SECOND = 100_000
SLOW_SECONDS = 0.3
STEP_SECONDS = 0.005
EPOCH = 1000
"""Steps."""
PLANNED = block_stage(0, "lm")
STAGE = PLANNED.name
DATASET = cast(Dataset, SimpleNamespace(fingerprint="f" * 64))


class SlowWriter(Writer):
    """Its disk takes long for a batch of steps."""

    def append(self, run: int, events: Sequence[Event], state: RunState) -> None:
        if all(isinstance(event, Step) for event in events):
            time.sleep(SLOW_SECONDS)
        super().append(run, events, state)


class Training:
    """Stands in for `core.protocol.train.train`; `held` are the seconds that each step was held up."""

    def __init__(self, steps: int, step_seconds: float) -> None:
        self.steps, self.step_seconds, self.held = steps, step_seconds, list[float]()

    def __call__(self, *arguments: Any) -> Iterator[Event]:
        yield RunStarted((PLANNED,), 1, 1, 1, (2, 2), 1)
        yield StageStarted(STAGE, "lm", 0, -(-self.steps // EPOCH), EPOCH, 2048 * EPOCH)
        for number in range(self.steps):
            if self.step_seconds:
                time.sleep(self.step_seconds)
            epoch, step = divmod(number, EPOCH)
            began = time.perf_counter()
            yield Step(STAGE, epoch + 1, step + 1, 7.123456789 - 1e-6 * number, 2048, 0.0123456789)
            self.held.append(time.perf_counter() - began)
            if step + 1 == EPOCH:
                yield Epoch(STAGE, epoch + 1, 7.1, 7.2, None, None, True, 3, 1.0)
        yield StageEnded(STAGE, 1.0)
        yield RunFinished(1.0, 0)


def drained(training: Training, writer: Writer) -> float:
    """Seconds until a whole run is stored."""
    number = add(writer, [])
    with patch.object(session, "train", training):
        began = time.perf_counter()
        session.run(
            config(), DATASET, StageMemory(), number, writer, lambda run, events: None, should_stop=lambda: False
        )
        seconds = time.perf_counter() - began
    with Reader(writer.path) as reader:
        stored = sum(isinstance(event, Step) for event in reader.events(number)[0])
    assert stored == training.steps, "nothing is lost"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    report = Report("Store: events through the session", {"steps": options.steps, "rounds": rounds})
    held: dict[type[Writer], list[float]] = {Writer: [], SlowWriter: []}
    rates = []
    with tempfile.TemporaryDirectory() as name:
        for place in range(rounds):
            with Writer(Path(name) / f"{place}.db") as writer:
                rates.append(FIGURES * options.steps / drained(Training(options.steps, 0.0), writer))
            for kind, found in held.items():
                with kind(Path(name) / f"{place} {kind.__name__}.db") as writer:
                    training = Training(EPOCH, STEP_SECONDS)
                    drained(training, writer)
                    found += training.held
    report.add(figure("metric points a second", rates, "/s", least=PER_SECOND))
    for kind, name in ((Writer, "this disk"), (SlowWriter, f"a disk that takes {SLOW_SECONDS} s")):
        waits = sorted(1000 * seconds for seconds in held[kind])
        report.add(figure(f"held up of a {1000 * STEP_SECONDS:.0f} ms step, {name}, worst", [waits[-1]], "ms"))
        report.add(figure(f"held up of a {1000 * STEP_SECONDS:.0f} ms step, {name}", waits, "ms"))
        share = statistics.fmean(waits) / (1000 * STEP_SECONDS)
        report.add(figure(f"all waiting ÷ all stepping, {name}", [100 * share], "%"))
    report.write(options.json)


if __name__ == "__main__":
    main()
