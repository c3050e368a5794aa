"""A run that was interrupted goes on, bit for bit, as if it had not been."""

from typing import Any

import pytest
import torch

from core.events import Epoch, RunFinished, StageStarted, Step
from core.state import RunState, reduce
from tests.core.protocol.bench import Bench, Place, assert_same
from tests.core.training import MakeConfig, numbers, of, stage_names

PLACES: list[Place] = [
    ("block0.lm", 1, 2), ("block0.lm", 3, 3), ("block0.statistics", 1, 1), ("block0.exit", 2, 2),
    ("block1.lm", 2, 2), ("block1.lm", 4, 1), ("block1.exit", 1, 1), ("evaluation", 1, 1),
]  # fmt: skip
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
