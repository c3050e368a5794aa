"""The protocols: the stages happen as planned, and give the same numbers each time."""

import dataclasses
from typing import Any

import pytest
import torch

from core.config.derived import loss_shares
from core.config.run_config import method_names
from core.data.windows import Dataset
from core.errors import NoHardTokensError
from core.events import (
    Epoch,
    Measured,
    RunFinished,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.model import new_model
from core.protocol.order import planned_stages
from core.protocol.train import first_data, train
from tests.core.training import DIM, SOUND, WORDS, MakeConfig, Shelf, numbers, of, stage_names


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("block_layers", [(1,), (1, 1), (1, 1, 1)])
def test_exactly_the_planned_stages_happen_in_their_order(
    method: str, block_layers: tuple[int, ...], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(method, block_layers=block_layers, max_epochs=1)
    events = list(train(config, tiny_dataset))
    begun = tuple(event.stage for event in of(StageStarted, events))
    assert begun == tuple(event.stage for event in of(StageEnded, events)) == stage_names(config)
    assert isinstance(events[0], RunStarted)
    assert events[0].stages == planned_stages(config)
    assert isinstance(events[-1], RunFinished)
    assert len(of(RunFinished, events)) == len(of(RunStarted, events)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"block_layers": (1, 1, 1)},
        {"exit_classifier_mode": "joint"},
        {"method": "gain"},
        {"method": "agree", "protocol": "joint"},
        {"protocol": "full_depth"},
    ],
    ids=str,
)
def test_a_planned_stage_is_what_then_happens_and_trains_what_the_checkpoint_keeps(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config, shelf = tiny_config(**values, max_epochs=1), Shelf()
    events = list(train(config, tiny_dataset, None, shelf))  # type: ignore[arg-type]
    planned = planned_stages(config)
    begun = [(event.stage, event.kind, event.block) for event in of(StageStarted, events)]
    assert [(stage.name, stage.kind, stage.block) for stage in planned] == begun
    assert {stage.name for stage in planned if stage.trains} == shelf.kept.keys()


def test_every_stage_s_events_lie_between_its_start_and_its_end(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    current = None
    for event in train(tiny_config(), tiny_dataset):
        if isinstance(event, StageStarted):
            assert current is None
            current = event.stage
        elif isinstance(event, Step | Epoch | Threshold | Measured | StageEnded):
            assert event.stage == current
            current = None if isinstance(event, StageEnded) else current
    assert current is None


def test_the_last_exit_can_be_left_out_and_changes_no_result(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    with_it = list(train(tiny_config(), tiny_dataset))
    without = list(train(tiny_config(last_exit=False), tiny_dataset))
    assert not {"block1.exit", "block1.hard"} & {event.stage for event in of(StageStarted, without)}
    assert of(Measured, with_it) == of(Measured, without)


def test_the_run_says_on_how_much_it_trains(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    started = next(train(tiny_config(), tiny_dataset))
    assert isinstance(started, RunStarted)
    assert (started.train_tokens, started.eval_tokens, started.vocab_size) == (48 * 4, 16 * 4, WORDS)
    layer = 4 * DIM * DIM + 3 * DIM * 12 + 2 * DIM
    assert started.parameters == 2 * WORDS * DIM + 2 * (layer + DIM + 1)


def test_the_same_config_gives_the_same_numbers(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    torch.manual_seed(1)
    first = list(train(tiny_config(), tiny_dataset))
    torch.manual_seed(2)
    again = list(train(tiny_config(), tiny_dataset))
    assert numbers(first) == numbers(again)
    assert [event.loss for event in of(Step, first)] == [event.loss for event in of(Step, again)]


def test_another_seed_gives_other_numbers(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    assert numbers(train(tiny_config(seed=1), tiny_dataset)) != numbers(train(tiny_config(seed=2), tiny_dataset))


def test_too_few_hard_tokens_end_the_run(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    with pytest.raises(NoHardTokensError, match=r"raise exit\.hard_ratio"):
        list(train(tiny_config(hard_ratio=0.02), tiny_dataset))


def test_a_later_block_trains_on_the_hard_tokens(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(hard_ratio=0.5), tiny_dataset))
    threshold = of(Threshold, events)[0]
    statistics = next(event for event in of(StageStarted, events) if event.stage == "block1.statistics")
    assert statistics.tokens == threshold.hard_tokens // 4 * 4
    on_train = [event for event in of(Measured, events) if event.split == "train"]
    assert [event.token_set for event in on_train] == ["all", "hard"]


def test_every_measurement_of_a_run_agrees_with_itself(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(block_layers=(1, 2, 1)), tiny_dataset))
    found = of(Measured, events)
    assert [event.name for event in found] == [
        *("block 0 on its training windows", "block 0 as trained"),
        *("block 1 on its training windows", "block 1 as trained"),
        "block 2 on its training windows",
        *("early exit", "block 0 alone", "block 1 alone", "all blocks", "oracle"),
    ]
    for event in found:
        shares = event.exit_shares
        assert sum(shares) == pytest.approx(1)
        assert event.layer_savings == pytest.approx(shares[0] * 3 / 4 + shares[1] * 1 / 4)
        assert event.shallow_ratio == pytest.approx(shares[0] + shares[1])
        if event.split == "eval":
            assert event.tokens == 64
            assert sum(event.window_losses) / 16 == pytest.approx(event.loss)


def test_a_block_as_trained_is_the_block_before_later_blocks_move_the_head(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    one = {event.name: event for event in of(Measured, train(tiny_config(block_layers=(1,)), tiny_dataset))}
    two = {event.name: event for event in of(Measured, train(tiny_config(block_layers=(1, 1)), tiny_dataset))}
    assert two["block 0 as trained"].window_losses == one["all blocks"].window_losses
    assert two["block 0 alone"].loss != two["block 0 as trained"].loss


def test_one_block_has_nothing_to_leave_before(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(block_layers=(2,)), tiny_dataset))
    early = next(event for event in of(Measured, events) if event.name == "early exit")
    assert (early.exit_shares, early.shallow_ratio, early.layer_savings) == ((1.0,), 0, 0)
    assert of(Warned, events) == []


def test_calibration_windows_are_the_last_and_no_block_sees_them(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(**{**SOUND, "calibration_ratio": 0.25, "method": "gain", "block_layers": (1, 1, 1)})
    model = new_model(config, WORDS)
    data = first_data(model, tiny_dataset.train, config)
    assert data.heldout is not None
    assert torch.equal(data.train.targets, tiny_dataset.train.targets[:36])
    assert torch.equal(data.heldout.targets, tiny_dataset.train.targets[36:])
    other = dataclasses.replace(tiny_dataset.train, inputs=tiny_dataset.train.inputs.clone())
    other.inputs[36:] = other.inputs[36:].flip(1)
    events, changed = (
        [event for event in train(config, dataset) if isinstance(event, Epoch) and event.stage == "block0.lm"]
        for dataset in (tiny_dataset, dataclasses.replace(tiny_dataset, train=other))
    )
    assert [event.loss for event in events] == [event.loss for event in changed]
    assert [event.val_loss for event in events] == [event.val_loss for event in changed]


def test_classifier_and_threshold_come_from_the_calibration_windows(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    events = list(train(tiny_config(**SOUND, block_layers=(1, 1, 1)), tiny_dataset))
    first, second = of(Threshold, events)
    assert (first.split, first.tokens) == ("calibration", 12 * 4)
    assert second.tokens == first.hard_tokens
    assert first.hard_tokens / first.tokens == pytest.approx(0.5, abs=0.03)
    fits = {event.stage: event.tokens for event in of(StageStarted, events) if event.kind == "exit classifier"}
    assert fits == {"block0.exit": first.tokens, "block1.exit": second.tokens}
    splits = [(event.split, event.token_set) for event in of(Measured, events) if event.stage.endswith("statistics")]
    assert splits[:3] == [("train", "all"), ("calibration", "all"), ("eval", "all")]
    assert splits[3:5] == [("train", "hard"), ("calibration", "hard")]


def test_full_depth_trains_all_blocks_for_the_last_prediction_and_never_exits(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(protocol="full_depth", head="frozen")
    assert loss_shares(config) == {0: 0.0, 1: 1.0}
    assert stage_names(config) == ("full_depth.lm", "evaluation")
    events = list(train(config, tiny_dataset))
    found = {event.name: event for event in of(Measured, events)}
    early, full = found["early exit"], found["all blocks"]
    assert early.window_losses == pytest.approx(full.window_losses)
    assert (early.exit_shares, early.layer_savings) == ((0, 1), 0)
    assert all(event.signal == b"" for event in of(TokensMeasured, events))


def test_every_run_says_what_its_machine_reaches(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    started = next(train(tiny_config(), tiny_dataset))
    assert isinstance(started, RunStarted)
    assert started.peak_flops is not None
