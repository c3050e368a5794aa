"""Many runs: what each costs beside its training, here and on Ray, whether all arrive, and databases of 100,000.

    python -m benchmarks.scale [--quick] [--json FILE]

The runs of the first part are made up: what stands in for the training yields the events of a whole run at once, so
that all the time is that of the queue, the checkpoint's folder, the store and, on Ray, the way there and back. Every
event of every run is looked for in the store afterwards. Commands are processes of their own, as at the prompt.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._report import Report, figure
from benchmarks.console import in_terminal
from benchmarks.growth import growth
from benchmarks.startup import EETUI, environment
from core.config.run_config import Layer, RunConfig
from core.events import Event, Warned
from core.session.run import Training
from core.state import Status
from core.store.new_runs import NewRun
from core.store.queue import take_run
from core.store.reader import Reader
from core.store.stored_sweeps import cells_of
from core.store.sweeps import Cell, create_sweep
from core.store.writer import Writer
from core.sweeps.create import plan_sweep, store_sweep
from core.sweeps.spec import grid, spec_from
from core.sweeps.values import read_axis
from core.sweeps.work import Worker
from tests.scripted_runs import RECORD, TINY, append, config, many_runs, scripted

MANY = 100_000
COUNTS = (10, 1000, 10_000, MANY)
"""Runs in the databases; the slopes are over all but the first."""
WARM = 5
"""Runs that are not counted: processes start, and files come into the cache."""
SEEDS = 4
METHODS, RATIOS = ("loss", "distill", "softmax"), (0.3, 0.5, 0.7)
ALL = {
    "eetui ls": ("ls",),
    "eetui compare 'ppl>0' --group-by method,hard_ratio": ("compare", "ppl>0", "--group-by", "method,hard_ratio"),
}
"""Commands that read every run."""
SOME = {
    "eetui ls --limit 20": ("ls", "--limit", "20"),
    "eetui ls 'ppl<220' --sort ppl": ("ls", "ppl<220", "--sort", "ppl"),
    "eetui compare sweep:rates --group-by method,hard_ratio": (
        "compare", "sweep:rates", "--group-by", "method,hard_ratio",
    ),
    "eetui sweep list": ("sweep", "list"),
    "eetui sweep show rates": ("sweep", "show", "rates"),
}  # fmt: skip
"""Commands that are to answer in `ANSWER` milliseconds."""
ANSWER = 300


def synthetic(run: RunConfig, *_: Any, **__: Any) -> Iterator[Event]:
    """Yield the events of a whole run at once, one of which says which run it is."""
    first, *events = scripted(run.method)
    yield first
    yield Warned(f"{run.exit.hard_ratio!r} {run.seed}")
    yield from events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2, help="runs at once on Ray")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--no-ray", action="store_true", help="without the part on Ray")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    report = Report("Scale: many runs", {"runs": options.runs, "slots": options.slots, "rounds": rounds})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here(report, folder, 20 if options.quick else 100)
        if not options.no_ray:
            on_ray(report, folder, 20 if options.quick else 100, options.runs, options.slots)
        dry_run(report, folder, rounds)
        answers(report, folder, rounds)
    report.write(options.json)


def here(report: Report, folder: Path, runs: int) -> None:
    """Time of a run in this process beside its training."""
    with Writer(folder / "here.db") as store:
        began = time.process_time()
        taken = per_run(store, runs + WARM, synthetic)
        used = (time.process_time() - began) / (runs + WARM)
    report.add(figure("beside its training, a run here", taken, "s", most=0.5))
    report.add(figure("the same: of the CPU, with its part of the sweep's plan", [used], "s"))


def on_ray(report: Report, folder: Path, single: int, runs: int, slots: int) -> None:
    """Time of a run on a warm cluster of this machine beside its training, and many of them at once."""
    from core.sweeps.remote.ray_cluster import Cluster, cluster
    from core.sweeps.remote.ray_place import RayTrainer
    from core.sweeps.remote.training import RemoteTraining

    class Synthetic(RayTrainer):
        training = staticmethod(synthetic)

    with cluster():
        training = RemoteTraining(Cluster(Synthetic))
        with Writer(folder / "ray.db") as store:
            taken = per_run(store, single + WARM, training)
        report.add(figure("beside its training, a run on Ray, warm", taken, "s", most=1.0))
        path = folder / "many.db"
        with Writer(path) as store:
            sweep = made(store, runs)
            began = time.perf_counter()
            Worker(store, sweep, lambda run, events: None, training=training).work(slots=slots)
            seconds = time.perf_counter() - began
    sound, events = verified(path, sweep)
    report.add(figure(f"of {runs:,} runs through Ray, stored whole and once", [sound], "runs", least=runs))
    report.add(figure(f"the same, {slots} at once: runs a second", [runs / seconds], "/s"))
    report.add(figure("the same: events a second", [events / seconds], "/s"))
    report.add(figure(f"the same: database a run, {events // runs} events", [path.stat().st_size / runs / 1024], "KiB"))


def per_run(store: Writer, runs: int, training: Training | Callable[..., Iterator[Event]]) -> list[float]:
    """Return the seconds from the end of one run to that of the next, one after the other; the first are left out."""
    ends: list[float] = []

    def note(run: int, status: Status) -> None:
        assert status == "finished", status
        ends.append(time.perf_counter())

    sweep = made(store, runs)
    Worker(store, sweep, lambda run, events: None, after=note, training=training).work()  # type: ignore[arg-type]
    return [after - before for before, after in zip(ends[WARM - 1 :], ends[WARM:], strict=False)]


def made(store: Writer, runs: int) -> int:
    """Store a sweep of so many runs on a text of 1,000 words; return its number."""
    text = store.path.parent / "words.txt"
    text.write_text(" ".join(f"w{number * number % 23}" for number in range(1000)))
    base = Layer("benchmark", {**TINY, "corpus": str(text), "tokenizer": "word", "method": "loss", "threads": 1})
    ratios = ",".join(f"{0.1 + 0.8 * number / runs:.6f}" for number in range(-(-runs // SEEDS)))
    spec = spec_from([base], [read_axis("hard_ratio", ratios)], ["loss"], SEEDS)
    return store_sweep(store, "many", spec, plan_sweep(spec, grid(spec)[:runs], "many"))


def verified(path: Path, sweep: int) -> tuple[int, int]:
    """Count the runs that are in the store with all events of theirs, each once and in order, and all events."""
    sound = total = 0
    with Reader(path) as reader:
        for cell in cells_of(reader, sweep):
            row, (events, _) = reader.run(cell["id"]), reader.events(cell["id"])
            expected = [*synthetic(config("loss", cell["seed"], hard_ratio=cell["setting"]["exit.hard_ratio"]))]
            sound += row["status"] == "finished" and [*map(known, events)] == [*map(known, expected)]
            total += len(events)
    return sound, total


def known(event: Event) -> tuple[object, ...]:
    """Return what tells an event from the others of its run."""
    values = (getattr(event, name, None) for name in ("stage", "epoch", "step", "way", "block", "message"))
    return type(event).__name__, *values


def dry_run(report: Report, folder: Path, rounds: int) -> None:
    """Time and memory of the plan of a sweep of 1,000 runs."""
    text = folder / "words.txt"
    ratios = ",".join(f"{0.1 + 0.003 * number:.3f}" for number in range(250))
    values = {**TINY, "block_layers": "[1,1]", "corpus": str(text), "tokenizer": "word", "threads": 1}
    words = [f"{name}={value}" for name, value in values.items()]
    command = [*EETUI, "sweep", "-m", "loss", "--dry-run", "--seeds", str(SEEDS), "--set", f"hard_ratio={ratios}"]
    command += [word for one in words for word in ("--set", one)]
    seconds, used = list[float](), list[float]()
    for _ in range(rounds):
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment(folder / "none.db"), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, status
        seconds.append(time.perf_counter() - began)
        used.append(usage.ru_maxrss / 1024)
    report.add(figure("eetui sweep --dry-run, 1,000 runs", seconds, "s"))
    report.add(figure("the same: its process at its largest", used, "MiB"))


def answers(report: Report, folder: Path, rounds: int) -> None:
    """Time until commands and the console answer, by the number of runs in the database."""
    paths = {count: many_runs(folder / f"{count}.db", count) for count in COUNTS}
    for path in paths.values():
        add_sweep(path)
    for name, words in (SOME | ALL).items():
        taken = {count: [first_answer(words, path) for _ in range(rounds + 1)][1:] for count, path in paths.items()}
        milliseconds = {count: [1000 * seconds for seconds in found] for count, found in taken.items()}
        most = ANSWER if name in SOME else None
        report.add(figure(f"{name}, {MANY:,} runs, first line", milliseconds[MANY], "ms", most=most))
        report_growth(report, name, milliseconds)
    screens = {
        "Runs": [[frame(path) for _ in range(rounds + 1)][1:] for path in paths.values()],
        "Sweep": [[frame(path, b"W", b"combinations") for _ in range(rounds + 1)][1:] for path in paths.values()],
    }
    report.add(figure("first frame of the console, 10 runs", [1000 * seconds for seconds in screens["Runs"][0]], "ms"))
    for name, found in screens.items():
        milliseconds = {count: [1000 * seconds for seconds in each] for count, each in zip(COUNTS, found, strict=True)}
        what = "first frame of the console" if name == "Runs" else "key to Sweep screen"
        few = statistics.median(milliseconds[COUNTS[0]])
        report.add(figure(f"{what}, {MANY:,} runs", milliseconds[MANY], "ms", most=ANSWER if name == "Sweep" else None))
        more = [one - few for one in milliseconds[MANY]]
        report.add(figure(f"what {MANY:,} runs add to it", more, "ms", most=ANSWER))
        report_growth(report, what, milliseconds)


def report_growth(report: Report, name: str, milliseconds: dict[int, list[float]]) -> None:
    """Report the slope of what runs add to a time with ten of them, and the times."""
    medians = {count: statistics.median(each) for count, each in milliseconds.items()}
    report.add(growth(f"  {name} by runs", COUNTS[1:], [medians[count] for count in COUNTS[1:]]))
    report.note(f"{name} (ms): {', '.join(f'{count:,}: {median:.0f}' for count, median in medians.items())}")


def frame(database: Path, key: bytes = b"", text: bytes = b"") -> float:
    """Return the seconds until the console shows the runs or, from there, from a key to a text that it shows."""
    began = time.perf_counter()
    with in_terminal(EETUI, database) as terminal:
        terminal.wait_for(b"rates-8-s3")
        if not key:
            return time.perf_counter() - began
        terminal.drain(1.0)
        terminal.press(key)
        return terminal.wait_for(text)


def add_sweep(path: Path) -> None:
    """Store a sweep of 27 runs with all their events."""
    combinations = [(method, ratio) for method in METHODS for ratio in RATIOS]
    cells = [
        Cell(
            NewRun(
                f"rates-{point}-s{seed}", method, seed, "quick",
                config(method, seed, hard_ratio=ratio).model_dump_json(), RECORD,
            ),
            point, {"method": method, "exit.hard_ratio": ratio}, {}, "",
        )
        for point, (method, ratio) in enumerate(combinations)
        for seed in range(1, 4)
    ]  # fmt: skip
    base = Layer("benchmark", {"method": "loss", "threads": 1})
    axes = [read_axis("hard_ratio", ",".join(map(str, RATIOS)))]
    spec = spec_from([base], axes, list(METHODS), 3)
    with Writer(path) as store:
        sweep = create_sweep(store, "rates", spec.as_plain(), cells)
        with Reader(path) as reader:
            runs = [(cell["id"], cell["method"]) for cell in cells_of(reader, sweep)]
        for run, method in runs:
            take_run(store, run)
            append(store, run, list(scripted(method)))


def first_answer(words: Sequence[str], database: Path) -> float:
    """Return the seconds until a command has written its first line."""
    began = time.perf_counter()
    with subprocess.Popen([*EETUI, *words], env=environment(database), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    assert process.returncode == 0, process.returncode
    return seconds


if __name__ == "__main__":
    main()
