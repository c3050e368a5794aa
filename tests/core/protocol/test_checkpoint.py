"""Checkpoints: times of writing, contents, and the run they belong to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from core.config.dotted_names import flatten
from core.config.run_config import Layer, build, set_layer
from core.config.sections import PRETRAINED_FIELDS, RECIPE_FIELDS
from core.errors import UsageError
from core.events import Event, Measured, RunFinished, RunInterrupted, StageStarted, Warned
from core.protocol import checkpoint as checkpoints
from core.protocol.checkpoint import FORMAT, Checkpoint, load_model
from core.protocol.memory import StageMemory
from core.protocol.resolve import resolve
from core.state import RunState
from core.store.files import checkpoint_folder
from tests.core.protocol.bench import Bench, assert_same
from tests.core.training import WORDS, MakeConfig, of


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
    later = {
        "machine": {"head_dtype"},
        "data": {"full_batches", "stride", "bos_token"},
        "model": set(PRETRAINED_FIELDS),
        "train": {"readout_target", "exits_from", "backbone", *RECIPE_FIELDS},
        "exit": {"policy", "price", "savings", "loss_budget", "cost", "classifier"},
    }
    older = config.model_dump_json(exclude=later)
    assert not any(name in older for name in ("head_dtype", "full_batches", "exits_from", "policy", "readout"))
    assert build([Layer("stored", flatten(json.loads(older)))]) == config
    origin = hashlib.sha256(f"{FORMAT}\nfingerprint\n{older}".encode()).hexdigest()
    bench.queue(config)
    assert bench.checkpoint(config, 1).origin == origin
    for change in ("head_dtype=bfloat16", "full_batches=false"):
        assert bench.checkpoint(resolve(build([set_layer(change)])), 1).origin != origin


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
