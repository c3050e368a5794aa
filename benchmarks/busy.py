"""Training beside busy processes: default settings against other numbers of threads, and other ways to wait.

    python -m benchmarks.busy [--quick] [--json FILE]

The sides are processes of their own that train one block of preset seed's dimensions on random tokens, in turns: by
default, on one thread, and on all cores' threads that wait as OpenMP does by itself (spinning for milliseconds), or
passively. Beside them others count without end, pinned nowhere: none, one, two, and as many as there are cores or half
of that. To be run where nothing else runs; how many cores something else keeps busy is said first.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks._report import Report, figure, number
from core.machine.cores import allowed_cores, read_cores

VOCABULARY, WINDOWS, SEQ_LEN, BATCH = 16_000, 512, 32, 64
CORES = len(allowed_cores())
DEFAULT, ONE, SPINNING, PASSIVE = "default", "1 thread", f"{CORES} threads, spinning", f"{CORES} threads, passive"
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
OWN_SPINS = "300000"
"""What libgomp takes where nobody says anything."""
ALMOST_BEST, ALMOST_FREE = 0.9, 0.95
"""Goals: of the default's speed against any other side's, and of passive waiting's on a quiet machine."""
COUNTING = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(1000))"
"""Without end, but not beyond ours."""


@dataclass
class Side:
    """A way to train, in a process that waits to be asked.

    Args:
        threads: 0 leaves it to eetui.
        waiting: variables of the environment.
    """

    threads: int
    waiting: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        bare = {name: value for name, value in os.environ.items() if name not in WAIT_VARIABLES}
        command = [sys.executable, "-m", "benchmarks.busy", "--side", str(self.threads)]
        self.process = subprocess.Popen(
            command, env=bare | self.waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def train(self, seconds: float) -> float:
        """Train for so long; tokens a second."""
        return float(self._ask(str(seconds)))

    def choice(self) -> str:
        """Its number of threads, and the remark on that."""
        return self._ask("")

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        answer: str = json.loads(self.process.stdout.readline())
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a side trains for at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="half a second, four rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        answer(options.side)
        return
    seconds, rounds = (0.5, 4) if options.quick else (options.seconds, options.rounds)
    report = Report(
        "Beside busy processes: the default against other threads, in turns",
        {"seconds": seconds, "rounds": rounds, "batch": BATCH * SEQ_LEN, "vocabulary": VOCABULARY},
    )
    report.note(f"cores that something else keeps busy: {number(read_cores(1.0).busy)}")
    sides = {
        ONE: Side(1),
        SPINNING: Side(CORES, {"GOMP_SPINCOUNT": OWN_SPINS}),
        PASSIVE: Side(CORES, {"OMP_WAIT_POLICY": "PASSIVE"}),
    }
    with ExitStack() as stack:
        for side in sides.values():
            stack.enter_context(side)
        for side in sides.values():
            side.train(0.1)
        for count in sorted({0, 1, 2, CORES // 2, CORES}):
            with busy(count), Side(0) as default:  # which looks at the machine as it is now
                compare(report, count, {DEFAULT: default, **sides}, seconds, rounds)
    report.write(options.json)


def compare(report: Report, count: int, sides: Mapping[str, Side], seconds: float, rounds: int) -> None:
    """One degree of being busy: the speed of every side, and the default's against each."""
    beside = f"beside {count}" if count else "quiet"
    report.note(f"{beside}: the default takes {sides[DEFAULT].choice()}")
    sides[DEFAULT].train(0.1)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side.train(seconds))
    for name, speeds in found.items():
        report.add(figure(f"{beside}: {name}", speeds, "tokens/s"))
    for name in (ONE, SPINNING, PASSIVE):
        ratios = [one / other for one, other in zip(found[DEFAULT], found[name], strict=True)]
        report.add(figure(f"  {beside}: default ÷ {name}", ratios, "×", least=ALMOST_BEST))
    if not count:
        ratios = [one / other for one, other in zip(found[PASSIVE], found[SPINNING], strict=True)]
        report.add(figure(f"  {beside}: passive ÷ spinning", ratios, "×", least=ALMOST_FREE))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that count without end, until the block is left."""
    processes = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def answer(threads: int) -> None:
    """A side's process: trains for as many seconds as each line of standard input says, or tells its threads."""
    import torch

    from core.config.run_config import Layer, build, preset_layer
    from core.machine.device import prepare
    from core.model import new_model
    from core.protocol.resolve import resolve_all
    from core.stages.block_data import from_words
    from core.stages.trainer import Trainer

    values = Layer("benchmark", {"method": "loss", "device": "cpu", "threads": threads})
    (config,), remark = resolve_all([build([preset_layer("seed"), values])])
    prepare(config)
    inputs, targets = torch.randint(VOCABULARY, (2, WINDOWS, SEQ_LEN)).unbind()
    model = new_model(config, VOCABULARY)
    trainer = Trainer(model, {0: 1.0}, from_words(model, inputs, targets), config, "busy", WINDOWS // BATCH)
    batches = torch.arange(WINDOWS).split(BATCH)
    for line in sys.stdin:
        if not line.strip():
            print(json.dumps(f"{config.machine.threads} threads; {remark or 'no remark'}"), flush=True)
            continue
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < float(line):
            trainer.step(batches[steps % len(batches)])
            steps += 1
        print(json.dumps(steps * BATCH * SEQ_LEN / (time.perf_counter() - began)), flush=True)


if __name__ == "__main__":
    main()
