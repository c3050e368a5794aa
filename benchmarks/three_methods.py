"""The report's three methods: our experiment against a plain transcription of its protocol, on the same data.

    python -m benchmarks.three_methods [--quick] [--threads 1] [--also NAME=VALUE] [--json FILE]

Ours is what `eetui run --preset seed` does, its database and checkpoints included. Both sides run as many epochs, and
LM epochs, exit epochs and evaluation stand in the proportion of the report's run (15, 10, a fifth as many windows).
They take turns, method by method. The text is the front of pydocs with about as many different words as the report's
proxy corpus.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks import plain_protocol
from benchmarks._report import Report, figure
from core.config.run_config import Layer, RunConfig, build, preset_layer, set_layer
from core.data.readers.pydocs import pydocs_text
from core.events import Event, Measured, StageEnded, StageStarted, Step
from core.formulas import perplexity
from core.protocol.memory import StageMemory
from core.protocol.order import EVALUATION
from core.session import run as session
from core.session.plan import REPORT_METHODS, Plan
from core.session.prepare import Prepared, prepare
from core.store.writer import Writer

CHARACTERS = 880_000
"""Of pydocs: 16,000 different words."""
REPORT_EPOCHS, REPORT_EVAL_RATIO = 15, 0.2
FEWEST_WINDOWS = 65
"""Of evaluation text, for a batch of 64."""
FASTER, FASTER_BFLOAT16 = 6.0, 10.0
"""Goals: how many times as fast."""
PARTS = {
    "block0.lm": "block 0", "block0.statistics": "exit 0", "block0.exit": "exit 0", "block0.hard": "exit 0",
    "block1.lm": "block 1", "block1.statistics": "exit 1", "block1.exit": "exit 1", "block1.hard": "exit 1",
    "evaluation": "evaluation",
}  # fmt: skip
"""Our stages as the transcription's parts."""
ALL_PARTS = tuple(dict.fromkeys(PARTS.values()))


@dataclass
class Side:
    """Seconds of one way to do it: of all methods, and of their parts; and the PPL it comes to."""

    total: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    ppl: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, seconds: float) -> None:
        self.parts[part] = self.parts.get(part, 0.0) + seconds


class Ours:
    """An experiment of ours in a database of its own, one method at a time."""

    def __init__(
        self, folder: Path, text: str, options: argparse.Namespace, seed: int, assignments: Sequence[str]
    ) -> None:
        layers = [
            preset_layer("seed"),
            Layer("benchmark", own_values(text, options, seed)),
            *map(set_layer, assignments),
        ]
        configs = tuple(build([*layers, Layer("benchmark", {"method": method})]) for method in REPORT_METHODS)
        self.writer = Writer(folder / "runs.db")
        self.prepared: Prepared = prepare(Plan(configs, (None,) * len(configs), "seed"), self.writer)
        self.memory, self.side, self._reused, self._evaluated = StageMemory(), Side(), False, False

    def run(self, index: int) -> None:
        """Train one method, with what its siblings have left in memory."""
        config, number = self.prepared.configs[index], self.prepared.runs[index]
        self._evaluated = False
        began = time.perf_counter()
        status = session.run(
            config, self.prepared.dataset, self.memory, number, self.writer, self._note, should_stop=lambda: False
        )
        self.side.total += time.perf_counter() - began
        assert status == "finished", status

    def _note(self, run: int, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, StageStarted):
                self._reused = event.reused
            elif isinstance(event, StageEnded) and not self._reused:
                self.side.add(PARTS[event.stage], event.seconds)
            elif isinstance(event, Step) and event.stage == EVALUATION and self._evaluated:
                self.side.total -= event.seconds  # a round of timing, which the transcription has not
                self.side.add("evaluation", -event.seconds)
            elif isinstance(event, Measured) and event.way == "early exit":
                self._evaluated = True
                self.side.ppl[REPORT_METHODS[self.prepared.runs.index(run)]] = perplexity(event.loss)


def front_of_pydocs(folder: Path) -> str:
    path = folder / "pydocs.txt"
    path.write_text(pydocs_text()[:CHARACTERS], encoding="utf-8")
    return str(path)


def own_values(text: str, options: argparse.Namespace, seed: int) -> dict[str, object]:
    return {
        "seed": seed, "corpus": text, "tokenizer": options.tokenizer, "num_samples": options.samples,
        "eval_ratio": max(REPORT_EVAL_RATIO * options.epochs / REPORT_EPOCHS, FEWEST_WINDOWS / options.samples),
        "max_epochs": options.epochs, "patience": options.epochs, "exit_epochs": options.exit_epochs,
        "device": "cpu", "threads": options.threads,
    }  # fmt: skip


def run_plain(side: Side, config: RunConfig, prepared: Prepared) -> None:
    """The transcription with the same values."""
    dataset = prepared.dataset
    options = plain_protocol.Options(
        config.method, dataset.vocabulary.size, config.train.max_epochs, config.exit.exit_epochs,
        config.train.patience, config.seed,
    )  # fmt: skip
    began = time.perf_counter()
    train, evaluation = dataset.train, dataset.evaluation
    result = plain_protocol.run(options, (train.inputs, train.targets), (evaluation.inputs, evaluation.targets))
    side.total += time.perf_counter() - began
    for part, seconds in result.seconds.items():
        side.add(part, seconds)
    side.ppl[config.method] = perplexity(result.loss)


def one_round(options: argparse.Namespace, seed: int) -> tuple[Side, dict[str, Side]]:
    """The transcription, and ours by what is set beside the preset, in turns."""
    plain = Side()
    with tempfile.TemporaryDirectory() as name:
        ours: dict[str, Ours] = {}
        text = options.corpus or front_of_pydocs(Path(name))
        for assignments in ([], [options.also]):
            folder = Path(name) / str(len(ours))
            folder.mkdir()
            ours[" ".join(assignments) or "float32"] = Ours(folder, text, options, seed, assignments)
        prepared = next(iter(ours.values())).prepared
        print(f"vocabulary {prepared.dataset.vocabulary.size:,}, {prepared.dataset.train.targets.numel():,} tokens")
        for index, config in enumerate(prepared.configs):
            for experiment in ours.values():
                experiment.run(index)
            run_plain(plain, config, prepared)
            seconds = ", ".join(f"ours ({kind}) {each.side.total:.1f} s" for kind, each in ours.items())
            print(f"seed {seed}, up to {config.method}: {seconds}, plain {plain.total:.1f} s", flush=True)
        for experiment in ours.values():
            experiment.writer.__exit__()
    return plain, {kind: experiment.side for kind, experiment in ours.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="a path or glob, or hub:NAME [default: the front of pydocs]")
    parser.add_argument("--tokenizer", default="word", choices=("word", "bpe"))
    parser.add_argument("--samples", type=int, default=1600, help="windows of training text (the report: 10,000)")
    parser.add_argument("--epochs", type=int, default=6, help="LM epochs of each block")
    parser.add_argument("--exit-epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1, help="seeds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--also", default="machine.head_dtype=bfloat16", metavar="NAME=VALUE", help="ours once more with this set"
    )
    parser.add_argument("--quick", action="store_true", help="half of the text")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.samples = options.samples // 2 if options.quick else options.samples
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "quick")}
    report = Report("Three methods: our experiment against a plain transcription", shown)
    torch.set_num_threads(options.threads)
    torch.optim.AdamW([torch.zeros(1)])  # the first one imports a second's worth, which is neither side's
    rounds = [one_round(options, 42 + number) for number in range(options.rounds)]
    for kind in rounds[0][1]:
        show(report, kind, [(plain, ours[kind]) for plain, ours in rounds])
    report.write(options.json)


def show(report: Report, kind: str, rounds: Sequence[tuple[Side, Side]]) -> None:
    """How many times as fast, in all and by part, and what both come to."""
    for name, side in (("plain", 0), ("ours", 1)):
        report.add(figure(f"{name}, {kind}", [pair[side].total for pair in rounds], "s"))
        parts = (f"{part} {statistics.median(pair[side].parts[part] for pair in rounds):.1f}" for part in ALL_PARTS)
        report.note(f"{name}, {kind}, seconds of {', '.join(parts)}")
    ratios = [plain.total / ours.total for plain, ours in rounds]
    report.add(figure(f"plain ÷ ours, {kind}", ratios, "×", least=FASTER_BFLOAT16 if "bfloat16" in kind else FASTER))
    for part in ALL_PARTS:
        ratios = [plain.parts[part] / ours.parts[part] for plain, ours in rounds]
        report.add(figure(f"  of that, {part}, {kind}", ratios, "×"))
    for method in REPORT_METHODS:
        differences = [100 * (ours.ppl[method] / plain.ppl[method] - 1) for plain, ours in rounds]
        pairs = ", ".join(f"{plain.ppl[method]:.2f} and {ours.ppl[method]:.2f}" for plain, ours in rounds)
        report.add(figure(f"  {method}: ours against plain PPL", differences, "%"))
        report.note(f"{method}, {kind}: eval PPL plain and ours {pairs}")


if __name__ == "__main__":
    main()
