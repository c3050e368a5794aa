"""Checkpoints: a run that was interrupted goes on, bit for bit, as if it had not been."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from core.config.dotted_names import flatten
from core.config.run_config import Layer, RunConfig, build, set_layer
from core.data.windows import Dataset
from core.errors import UsageError
from core.events import (
    Epoch,
    Event,
    Measured,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.protocol import checkpoint as checkpoints
from core.protocol import train as protocol
from core.protocol.checkpoint import FORMAT, Checkpoint, load_model
from core.protocol.memory import StageMemory
from core.protocol.resolve import resolve
from core.session import run as session
from core.state import RunState, Status, reduce
from core.store.files import checkpoint_folder
from core.store.reader import Reader
from core.store.writer import NewRun, Writer
from tests.core.training import stage_names

MakeConfig = Callable[..., RunConfig]
WORDS = 30
NEVER = ("", 0, 0)
Place = tuple[str, int, int]
"""Stage, epoch and step after which a run is stopped."""


class Bench:
    """Runs tiny experiments, stops them where a test wants, and looks at what is left."""

    last: Event | None = None
    """What the training said last; it is published later."""

    def __init__(self, writer: Writer, reader: Reader, dataset: Dataset) -> None:
        self.writer, self.reader, self.dataset = writer, reader, dataset

    def train(self, *arguments: Any) -> Iterator[Event]:
        """The protocol, watched."""
        for event in protocol.train(*arguments):
            self.last = event
            yield event

    def queue(self, config: RunConfig) -> int:
        new = NewRun(None, config.method, config.seed, None, config.model_dump_json(), {"fingerprint": "fingerprint"})
        return self.writer.create_experiment([new])[0]

    def run(
        self, config: RunConfig, number: int, stop_after: Place = NEVER, memory: StageMemory | None = None
    ) -> tuple[Status, list[Event]]:
        """How the leg ended, and its events."""
        seen: list[Event] = []
        memory = memory or StageMemory()

        def publish(run: int, events: Sequence[Event]) -> None:
            seen.extend(events)

        def stop() -> bool:
            last = self.last
            return isinstance(last, Step) and (last.stage, last.epoch, last.step) == stop_after

        status = session.run(config, self.dataset, memory, number, self.writer, publish, stop)
        return status, seen

    def checkpoint(self, config: RunConfig, number: int) -> Checkpoint:
        return Checkpoint.of_run(self.writer.path, number, config, self.dataset.fingerprint)

    def weights(self, config: RunConfig, number: int) -> dict[str, Tensor]:
        return load_model(config, WORDS, self.checkpoint(config, number)).state_dict()

    def files(self, number: int) -> set[str]:
        return {path.name for path in checkpoint_folder(self.writer.path, number).glob("*")}


@pytest.fixture
def bench(writer: Writer, reader: Reader, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(writer, reader, tiny_dataset)
    monkeypatch.setattr(session, "train", bench.train)
    return bench


def of(kind: type, events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def numbers(events: Sequence[Event]) -> list[Event]:
    """All that was found, without clocks and without who computed it."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, StageStarted):
            found.append(replace(event, reused=False))
        elif isinstance(event, StageEnded | Epoch):
            found.append(replace(event, seconds=0.0))
        elif isinstance(event, RunStarted):
            found.append(replace(event, peak_flops=None))
        elif isinstance(event, Measured | Threshold | TokensMeasured | Warned):
            found.append(event)
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


SOUND = {
    "norm": "pre",
    "tie_embedding": True,
    "train_embedding": True,
    "head": "frozen",
    "later_init": "identity",
    "hard_tokens": "mask",
    "calibration": "heldout",
    "calibration_ratio": 0.25,
    "exited_state": "copy",
    "classifier_fit": "lbfgs",
}
PLACES: list[Place] = [
    ("block0.lm", 1, 2), ("block0.lm", 3, 3), ("block0.statistics", 1, 1), ("block0.exit", 2, 2),
    ("block1.lm", 2, 2), ("block1.lm", 4, 1), ("block1.exit", 1, 1), ("evaluation", 1, 1),
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(map(str, place)))
def test_a_resumed_run_equals_bit_for_bit_the_run_that_was_not_interrupted(
    place: Place, bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config(max_epochs=4, patience=4)
    whole, broken = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    status, first = bench.run(config, broken, place)
    assert status == "interrupted"
    bench.writer.requeue([broken])
    status, second = bench.run(config, broken)
    assert status == "finished"
    assert len(of(Step, first)) < len(of(Step, expected))
    assert numbers(second) == numbers(expected)
    assert_same(bench.weights(config, broken), bench.weights(config, whole))
    assert not any("partial" in name for name in bench.files(broken))


@pytest.mark.parametrize(
    "values",
    [
        {"lr": 0.3, "patience": 2, "max_epochs": 12},
        {"exit_classifier_mode": "joint"},
        {"dtype": "float64", "method": "softmax"},
        {"block_layers": (1, 1, 1), "last_exit": False},
        {"method": "gain", "dropout": 0.3, "decay": "cosine", "warmup_steps": 5, **SOUND},
        {"method": "agree", "head": "per_block", "train_embedding": True, "protocol": "joint", "dropout": 0.3},
        {"protocol": "full_depth", "exit_classifier_mode": "joint", "label_smoothing": 0.1, "dropout": 0.3},
    ],
    ids=str,
)
def test_any_config_can_be_interrupted_at_every_stage_in_turn(
    values: dict[str, Any], bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config(**{"max_epochs": 4, **values})
    whole, broken = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    last_steps = {event.stage: event for event in of(Step, expected)}
    for stage in last_steps.values():
        status, _ = bench.run(config, broken, (stage.stage, stage.epoch, stage.step))
        assert status == "interrupted"
        bench.writer.requeue([broken])
    _, final = bench.run(config, broken)
    assert numbers(final) == numbers(expected)
    assert_same(bench.weights(config, broken), bench.weights(config, whole))


def test_patience_and_the_best_weights_outlive_the_break(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config(lr=0.3, patience=3, max_epochs=20)
    whole, broken = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    epochs = [epoch for epoch in of(Epoch, expected) if epoch.stage == "block0.lm"]
    assert not epochs[-2].improved, "the break must come where the best weights are not the last"
    assert len(epochs) < 20
    bench.run(config, broken, ("block0.lm", len(epochs), 1))
    partial = bench.checkpoint(config, broken).progress("block0.lm")
    assert partial is not None
    assert not torch.equal(partial.best_weights["head.weight"], partial.weights["head.weight"])
    bench.writer.requeue([broken])
    assert numbers(bench.run(config, broken)[1]) == numbers(expected)


def test_a_resumed_stage_reports_its_epochs_again_and_trains_only_the_rest(
    bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config(max_epochs=4, patience=4)
    number = bench.queue(config)
    bench.run(config, number, ("block1.lm", 3, 2))
    bench.writer.requeue([number])
    _, events = bench.run(config, number)
    reused = {event.stage: event.reused for event in of(StageStarted, events)}
    assert [stage for stage in reused if reused[stage]] == ["block0.lm", "block0.exit"]
    assert not any(step.stage in ("block0.lm", "block0.exit") for step in of(Step, events))
    block1 = [event for event in events if isinstance(event, Step | Epoch) and event.stage == "block1.lm"]
    assert [event.epoch for event in block1 if isinstance(event, Epoch)] == [1, 2, 3, 4]
    assert [event.epoch for event in block1[:2]] == [1, 2]
    assert all(isinstance(event, Epoch) for event in block1[:2])
    assert {event.epoch for event in block1 if isinstance(event, Step)} == {3, 4}


def test_the_whole_log_of_a_resumed_run_folds_to_its_last_leg(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number, ("evaluation", 1, 1))
    row = bench.reader.runs()[0]
    assert (row["status"], row["error"]) == ("interrupted", "stopped by the user")
    bench.writer.requeue([number])
    row = bench.reader.runs()[0]
    assert (row["status"], row["error"], row["seconds"], row["ended"]) == ("queued", None, None, None)
    _, events = bench.run(config, number)
    state = RunState()
    for event in events:
        state = state if isinstance(event, Step) else reduce(state, event)
    assert bench.reader.state(number) == state
    assert tuple(stage.name for stage in state.stages) == stage_names(config)
    assert len({measured.name for measured in state.measured}) == len(state.measured)
    row = bench.reader.runs()[0]
    assert (row["status"], row["error"]) == ("finished", None)
    assert row["seconds"] == of(RunFinished, events)[0].seconds
    assert row["ended"] >= row["started"]
    assert len(bench.reader.window_losses(number, "early exit")) == 16


def test_a_run_that_reuses_a_sibling_s_stages_has_all_its_weights_itself(bench: Bench, tiny_config: MakeConfig) -> None:
    memory = StageMemory()
    configs = [tiny_config(method) for method in ("loss", "softmax")]
    runs = [bench.queue(config) for config in configs]
    for config, number in zip(configs, runs, strict=True):
        bench.run(config, number, memory=memory)
    stages = ["block0.lm", "block0.exit", "block1.lm", "block1.exit"]
    assert bench.files(runs[0]) == {f"{stage}.safetensors" for stage in stages}
    assert bench.files(runs[1]) == {"block0.lm.safetensors", "block1.lm.safetensors"}
    alone = bench.queue(configs[1])
    bench.run(configs[1], alone)
    assert_same(bench.weights(configs[1], runs[1]), bench.weights(configs[1], alone))


def test_the_model_of_a_finished_run_is_the_one_it_was_measured_with(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    _, events = bench.run(config, number)
    model = load_model(config, WORDS, bench.checkpoint(config, number))
    windows = bench.dataset.evaluation
    with torch.no_grad():
        states = model.embedding(windows.inputs)
        for block in model.blocks:
            states = block(states)
        loss = torch.nn.functional.cross_entropy(model.head(states).flatten(0, 1), windows.targets.flatten())
    measured = next(event for event in of(Measured, events) if event.name == "all blocks")
    assert measured.loss == pytest.approx(loss.item(), rel=1e-6)


def test_the_model_of_an_unfinished_run_is_refused(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number, ("block1.lm", 1, 1))
    with pytest.raises(UsageError, match=r"does not hold the run's weights of block1\.lm"):
        bench.weights(config, number)


@pytest.mark.parametrize("change", [{"lr": 0.02}, {"seed": 1}, {"method": "distill"}, {"dim": 16}])
def test_a_checkpoint_of_another_config_is_not_used(
    change: dict[str, Any], bench: Bench, tiny_config: MakeConfig
) -> None:
    number = bench.queue(tiny_config())
    bench.run(tiny_config(), number, ("block1.lm", 2, 1))
    bench.writer.requeue([number])
    other = tiny_config(**change)
    _, events = bench.run(other, number)
    assert not any(event.reused for event in of(StageStarted, events))
    expected = bench.queue(other)
    bench.run(other, expected)
    assert_same(bench.weights(other, number), bench.weights(other, expected))


def test_the_checkpoint_of_a_config_without_later_fields_is_that_of_their_defaults(bench: Bench) -> None:
    config = resolve(build([]))
    older = config.model_dump_json().replace(',"head_dtype":"same"', "")
    assert "head_dtype" not in older
    assert build([Layer("stored", flatten(json.loads(older)))]) == config
    origin = hashlib.sha256(f"{FORMAT}\nfingerprint\n{older}".encode()).hexdigest()
    assert bench.checkpoint(config, 1).origin == origin
    assert bench.checkpoint(resolve(build([set_layer("head_dtype=bfloat16")])), 1).origin != origin


def test_a_checkpoint_of_another_corpus_is_not_used(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number, ("block1.lm", 2, 1))
    bench.writer.requeue([number])
    bench.dataset = replace(bench.dataset, fingerprint="another")
    assert not any(event.reused for event in of(StageStarted, bench.run(config, number)[1]))


@pytest.mark.parametrize("content", [b"", b"not tensors", None], ids=["empty", "foreign", "cut short"])
def test_a_damaged_file_is_trained_again(content: bytes | None, bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number, whole = bench.queue(config), bench.queue(config)
    bench.run(config, whole)
    bench.run(config, number, ("block1.lm", 2, 1))
    folder = checkpoint_folder(bench.writer.path, number)
    for file in ("block0.lm.safetensors", "block1.lm.partial.safetensors"):
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(before[: len(before) // 2] if content is None else content)
    bench.writer.requeue([number])
    status, events = bench.run(config, number)
    assert status == "finished"
    assert [event.stage for event in of(StageStarted, events) if event.reused] == ["block0.exit"]
    assert_same(bench.weights(config, number), bench.weights(config, whole))


def test_a_checkpoint_that_can_not_be_written_is_one_warning_and_the_run_goes_on(
    bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    number = bench.queue(config)
    checkpoint_folder(bench.writer.path, number).parent.write_text("a file where the folder should be")
    status, events = bench.run(config, number)
    assert status == "finished"
    warnings = [event.message for event in of(Warned, events) if "checkpoint" in event.message]
    assert len(warnings) == 1
    assert "can't be written" in warnings[0]
    assert warnings[0] in bench.reader.state(number).warnings
    assert isinstance(events[-1], RunFinished)


def test_a_checkpoint_that_can_not_be_written_at_the_end_is_said_before_it(
    bench: Bench, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    number = bench.queue(config)
    checkpoint_folder(bench.writer.path, number).parent.write_text("a file where the folder should be")
    status, events = bench.run(config, number, ("block0.lm", 2, 1))
    assert status == "interrupted"
    assert isinstance(events[-2], Warned)
    assert isinstance(events[-1], RunInterrupted)


def test_the_checkpoint_is_written_before_the_interruption_is_stored(
    bench: Bench, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    number = bench.queue(config)
    files_at_the_end: list[set[str]] = []
    append = bench.writer.append

    def watched(run: int, events: Sequence[Event], state: RunState) -> None:
        if any(isinstance(event, RunInterrupted) for event in events):
            files_at_the_end.append(bench.files(run))
        append(run, events, state)

    monkeypatch.setattr(bench.writer, "append", watched)
    bench.run(config, number, ("block0.lm", 2, 1))
    assert files_at_the_end == [{"block0.lm.partial.safetensors"}]


def test_progress_is_written_now_and_then_for_a_run_that_is_killed(
    bench: Bench, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    writes: list[str] = []
    flush = Checkpoint.flush

    def counted(checkpoint: Checkpoint) -> None:
        writes.append("flush")
        flush(checkpoint)

    monkeypatch.setattr(Checkpoint, "flush", counted)
    bench.run(config, bench.queue(config))
    assert writes == []
    monkeypatch.setattr(checkpoints, "WRITE_SECONDS", 0.0)
    bench.run(config, bench.queue(config))
    assert len(writes) == 6  # three epochs of each block


def test_a_file_tells_its_origin_and_its_events_without_steps(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config()
    number = bench.queue(config)
    bench.run(config, number)
    path = checkpoint_folder(bench.writer.path, number) / "block0.lm.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    kinds = [kind for kind, _ in json.loads(metadata["events"])]
    assert kinds == ["StageStarted", "Epoch", "Epoch", "Epoch", "StageEnded"]
    assert len(metadata["origin"]) == 64
    assert "head.weight" in names
    assert all(name.startswith(("blocks.0.", "head.")) for name in names)


def test_the_folder_of_a_run_lies_beside_its_database() -> None:
    assert checkpoint_folder(Path("/data/runs.db"), 7) == Path("/data/runs.db.checkpoints/7")


def test_deleting_a_run_deletes_its_checkpoint_and_no_other(bench: Bench, tiny_config: MakeConfig) -> None:
    config = tiny_config(max_epochs=1)
    runs = [bench.queue(config) for _ in range(2)]
    for number in runs:
        bench.run(config, number)
    bench.writer.delete(runs[0])
    assert bench.files(runs[0]) == set()
    assert len(bench.files(runs[1])) == 4
    bench.writer.delete(runs[1])
    assert list(bench.writer.path.parent.glob("*.checkpoints")) == []


def test_a_new_run_does_not_find_what_a_deleted_database_left_behind(
    bench: Bench, tiny_config: MakeConfig, path: Path
) -> None:
    stale = checkpoint_folder(path, 1)
    stale.mkdir(parents=True)
    (stale / "block0.lm.safetensors").write_bytes(b"old")
    assert bench.queue(tiny_config()) == 1
    assert bench.files(1) == set()
