"""The console under a training: what it costs the training, and what the training costs the console.

    python -m benchmarks.console [--rounds 3] [--quick] [--only-inspect] [--json FILE]

Both sides of every figure are taken in the same run, in turns. The console runs in a pseudo-terminal of its own, as
`eetui run` does in a real one; a key's time is from the write to the terminal until the text it calls for has come
out of it.
"""

import argparse
import contextlib
import os
import pty
import random
import select
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._report import Report, figure, status_bytes
from benchmarks.startup import EETUI
from benchmarks.startup import environment as own_environment
from core.events import Epoch
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.inspection.study import load
from tests.scripted_runs import many_runs
from tests.stored_tokens import SEQ_LEN, store_run

SIZE = (50, 160)
SLOW_LINK = 14.0
"""KiB a second of a link of 115,200 bits a second."""
RIGHT = b"\x1b[C"
TOKENS, MOVES = 640_000, 30
TRAINING = ["--method", "loss", "--set", "machine.threads=1", "--set", "patience=1000000"]
BARE_APP = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("first frame")
Bare().run()
"""


@dataclass
class Terminal:
    """A program in a pseudo-terminal."""

    process: subprocess.Popen[bytes]
    descriptor: int
    seen: bytes = b""

    def read(self, seconds: float) -> bytes:
        """What came out within that time; less time if something did."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return b""
        with contextlib.suppress(OSError):  # the program has ended
            return os.read(self.descriptor, 1 << 16)
        return b""

    def wait_for(self, text: bytes, seconds: float = 60.0) -> float:
        """Seconds until the text has come out."""
        began, seen = time.perf_counter(), b""
        while text not in seen:
            if time.perf_counter() - began > seconds:
                raise TimeoutError(f"{text!r} did not appear; last seen: {seen[-2000:]!r}")
            seen = seen[-200:] + self.read(0.5)
        return time.perf_counter() - began

    def drain(self, seconds: float) -> int:
        """Let it go on for a while, reading what it writes; return the number of bytes."""
        until, count = time.perf_counter() + seconds, 0
        while (left := until - time.perf_counter()) > 0:
            count += len(self.read(left))
        return count

    def press(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)


@contextlib.contextmanager
def in_terminal(command: Sequence[str], database: Path) -> Iterator[Terminal]:
    """Start a program in a terminal; whatever happens, it does not outlive the block."""
    parent, child = pty.openpty()
    ioctl(child, TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment(database), start_new_session=True
    )
    os.close(child)
    try:
        yield Terminal(process, parent)
    finally:
        process.send_signal(signal.SIGTERM)
        give_up = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < give_up:
            with contextlib.suppress(OSError):
                os.read(parent, 1 << 16) if select.select([parent], [], [], 0.1)[0] else None
        process.kill()
        process.wait()
        os.close(parent)


def environment(database: Path) -> dict[str, str]:
    return own_environment(database) | {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}


def training_rate(database: Path) -> float:
    """Tokens per second of the LM stage, by the clock of its epochs; the first epoch is warming up."""
    with Reader(database) as reader:
        events, _ = reader.events(1)
        stage = reader.state(1).stages[0]
    epochs = [event for event in events if isinstance(event, Epoch) and event.stage == stage.name][1:]
    return stage.tokens * len(epochs) / sum(epoch.seconds for epoch in epochs)


def headless_rate(folder: Path, options: Sequence[str], seconds: float) -> float:
    """Train without a screen for a while."""
    database = folder / "headless.db"
    command = [*EETUI, "run", "--no-ui", *TRAINING, *options]
    with in_terminal(command, database) as terminal:
        terminal.wait_for(b"epoch 1/")
        terminal.drain(seconds)
    return training_rate(database)


def console_rate(folder: Path, options: Sequence[str], seconds: float, keys: int) -> tuple[float, list[float]]:
    """Train with the Live screen open for as long, pressing keys; the rate, and the seconds each key took."""
    database = folder / "console.db"
    latencies: list[float] = []
    with in_terminal([*EETUI, "run", *TRAINING, *options], database) as terminal:
        wait_for_epochs(database, terminal, 1)
        if not keys:
            terminal.drain(seconds)
        for _ in range(keys):
            terminal.drain(seconds / keys * random.uniform(0.5, 1.0))
            terminal.press(b"j")
            latencies.append(terminal.wait_for(b"block0.statistics"))
            terminal.drain(0.3)
            terminal.press(b"k")
            terminal.drain(0.3)
    return training_rate(database), latencies


def written_rates(folder: Path, options: Sequence[str], seconds: float) -> list[float]:
    """KiB a second that the Live screen writes to its terminal while it trains, second by second."""
    database = folder / "link.db"
    with in_terminal([*EETUI, "run", *TRAINING, *options], database) as terminal:
        wait_for_epochs(database, terminal, 1)
        return [terminal.drain(1.0) / 1024 for _ in range(int(seconds))]


def wait_for_epochs(database: Path, terminal: Terminal, count: int) -> None:
    """Until the run has gone through so many epochs."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        terminal.drain(0.2)
        with contextlib.suppress(Exception), Reader(database) as reader:
            stages = reader.state(1).stages
            if stages and len(stages[0].history) >= count:
                return
    raise TimeoutError("the run did not begin")


def first_frame(command: Sequence[str], database: Path, text: bytes) -> float:
    """Seconds from the start of the program to its first frame."""
    began = time.perf_counter()
    with in_terminal(command, database) as terminal:
        terminal.wait_for(text)
        return time.perf_counter() - began


def threshold_moves(folder: Path, tokens: int, keys: int) -> tuple[list[float], list[float]]:
    """Seconds that a threshold takes to move in Inspect: what follows from it alone, and from the key to the screen."""
    database = folder / "tokens.db"
    run = store_run(database, tokens // SEQ_LEN)
    with Reader(database) as reader:
        study = load(reader, reader.run(run))
    assert study is not None
    alone, shown = [], []
    for _ in range(keys):
        began = time.perf_counter()
        study.move(0.01)
        alone.append(time.perf_counter() - began)
    with in_terminal(EETUI, database) as terminal:
        terminal.wait_for(f"{run}".encode())
        terminal.drain(1.0)
        terminal.press(b"i")
        terminal.wait_for(b"0.5000")
        terminal.drain(2.0)
        for number in range(1, keys + 1):
            terminal.press(RIGHT)
            shown.append(terminal.wait_for(f"{0.5 + number / 100:.4f}".encode()))
            terminal.drain(0.5)
    return alone, shown


def memory(folder: Path, options: Sequence[str], steps: int) -> tuple[float, float]:
    """Resident MiB of the console with Live open, after a fifth of the steps and after all of them."""
    database = folder / "memory.db"
    with in_terminal([*EETUI, "run", *TRAINING, *options], database) as terminal:
        early = resident_after(database, terminal, steps // 5)
        return early, resident_after(database, terminal, steps)


def resident_after(database: Path, terminal: Terminal, steps: int) -> float:
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        terminal.drain(0.5)
        with contextlib.suppress(Exception), sqlite3.connect(database) as connection:
            row = connection.execute(
                "SELECT sum(json_array_length(data, '$.step')) FROM events WHERE type = 'Steps'"
            ).fetchone()
            if (row[0] or 0) >= steps:
                return status_bytes("VmRSS", terminal.process.pid) / 2**20
    raise TimeoutError(f"no {steps} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=25.0, help="of training a round and side")
    parser.add_argument("--keys", type=int, default=20, help="pressed in each round")
    parser.add_argument("--steps", type=int, default=10_000, help="of the run whose memory is watched")
    parser.add_argument("--quick", action="store_true", help="one round of 10 s, 8 keys, 2,000 steps")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only-inspect", action="store_true", help="no training: threshold moves only")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.keys, arguments.steps = 1, 10.0, 8, 2000
    shown = {key: value for key, value in vars(arguments).items() if key not in ("json", "quick")}
    kept = Report("Console: what it costs the training, and what the training costs it", shown)
    with tempfile.TemporaryDirectory() as name:
        report_inspect(Path(name), kept)
        if not arguments.only_inspect:
            report(Path(name), arguments, kept)
    kept.write(arguments.json)


def report_inspect(folder: Path, kept: Report) -> None:
    alone, shown = threshold_moves(folder, TOKENS, MOVES)
    kept.add(figure(f"Inspect, {TOKENS:,} tokens × 2: what a threshold gives", [1000 * value for value in alone], "ms"))
    kept.add(figure("key to repaint of a threshold move", [1000 * value for value in shown], "ms", most=100))


def report(folder: Path, arguments: argparse.Namespace, kept: Report) -> None:
    empty, many = folder / "empty.db", folder / "many.db"
    with Writer(empty):
        pass
    many_runs(many, 10_000)
    bare, frames, frames_many = [], [], []
    for _ in range(2 * arguments.rounds + 1):
        bare.append(first_frame([sys.executable, "-c", BARE_APP], empty, b"first frame"))
        frames.append(first_frame(EETUI, empty, b"eetui"))
        frames_many.append(first_frame(EETUI, many, b"run-10000"))
    kept.add(figure("first frame, a bare Textual app", bare, "s"))
    kept.add(figure("first frame, empty database", frames, "s", most=0.5))
    kept.add(figure("first frame, 10,000 runs", frames_many, "s", most=1.0))

    options = ["--preset", "seed", "--set", "num_samples=2000", "--set", "max_epochs=1000"]
    ratios, latencies = [], []
    for number in range(arguments.rounds):
        place = folder / str(number)
        place.mkdir()
        quiet = headless_rate(place, options, arguments.seconds)
        watched, _ = console_rate(place, options, arguments.seconds, 0)
        ratios.append(watched / quiet)
        print(f"round {number + 1}: headless {quiet:,.0f} tokens/s, Live open {watched:,.0f} tokens/s")
    kept.add(figure("tokens/s, Live open ÷ headless", ratios, least=0.95))
    for number in range(arguments.rounds):
        place = folder / f"keys{number}"
        place.mkdir()
        latencies += console_rate(place, options, arguments.seconds, arguments.keys)[1]
    kept.add(figure("key to repaint while training", [1000 * value for value in latencies], "ms", most=50))
    kept.add(figure("its 95th percentile", [1000 * statistics.quantiles(latencies, n=20)[-1]], "ms", most=150))

    written = written_rates(folder, options, arguments.seconds)
    kept.add(figure("Live while training, written to the terminal", written, "KiB/s", most=SLOW_LINK))

    tiny = ["num_samples=4000", "seq_len=16", "dim=16", "num_heads=2", "ffn_dim=32", "vocab_size=300", "batch_size=16"]
    settings = [word for value in (*tiny, "max_epochs=1000") for word in ("--set", value)]
    early, late = memory(folder, settings, arguments.steps)
    kept.add(figure(f"memory with Live open, after {arguments.steps // 5:,} steps", [early], "MiB"))
    kept.add(figure(f"memory after {arguments.steps:,} steps ÷ that", [late / early], "×"))


if __name__ == "__main__":
    main()
