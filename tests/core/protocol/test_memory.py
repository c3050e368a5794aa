"""What sibling runs share: never a stage that would differ."""

from dataclasses import replace
from typing import Any

import pytest

from core.config.run_config import method_names
from core.data.windows import Dataset
from core.events import Measured, StageStarted
from core.exits import exit_method
from core.machine.clock import Stopwatch
from core.protocol.memory import StageMemory
from core.protocol.train import train
from tests.core.training import SOUND, MakeConfig, numbers, of, profiles


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("first", ["loss", "entropy", "gain"])
def test_a_run_that_reuses_block_0_equals_bit_for_bit_the_run_that_trains_it(
    first: str, method: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config(first), tiny_dataset, memory))
    shared = list(train(tiny_config(method), tiny_dataset, memory))
    alone = list(train(tiny_config(method), tiny_dataset))
    stages = ["block0.lm", "block0.statistics"]
    if exit_method(first).extras or exit_method(method).extras:  # not every method makes the same statistics
        stages.remove("block0.statistics")
    assert [event.stage for event in of(StageStarted, shared) if event.reused] == stages
    assert not any(event.reused for event in of(StageStarted, alone))
    assert numbers(shared) == numbers(alone)


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.02}, {"block_layers": (2, 1)}, {"batch_size": 4}])
def test_block_0_is_not_reused_where_it_would_differ(
    change: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = list(train(tiny_config(**change), tiny_dataset, memory))
    assert not any(event.reused for event in of(StageStarted, events))


def test_block_0_is_not_reused_on_another_corpus(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = train(tiny_config(), replace(tiny_dataset, fingerprint="another"), memory)
    assert not any(event.reused for event in of(StageStarted, events))


def test_block_0_is_not_reused_between_methods_that_train_a_classifier_along(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config("distill", exit_classifier_mode="joint"), tiny_dataset, memory))
    shared = list(train(tiny_config("loss", exit_classifier_mode="joint"), tiny_dataset, memory))
    alone = list(train(tiny_config("loss", exit_classifier_mode="joint"), tiny_dataset))
    assert numbers(shared) == numbers(alone)
    assert not any(event.reused for event in of(StageStarted, shared))


def test_sound_runs_share_what_does_not_depend_on_the_method(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    for protocol in ("staged", "joint", "full_depth"):
        memory = StageMemory()
        for method in ("loss", "entropy", "gain"):
            config = tiny_config(method, protocol=protocol, **SOUND)
            shared, alone = (list(train(config, tiny_dataset, shelf)) for shelf in (memory, None))
            reused = {event.stage for event in of(StageStarted, shared) if event.reused}
            assert (method == "loss") == (not reused)
            assert of(Measured, shared) == of(Measured, alone)


def test_a_shared_block_0_is_read_with_the_run_s_own_embedding(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    """The sibling that trained it has moved its own embedding since, with the head that it is tied to."""
    memory = StageMemory()
    values = {"train_embedding": True, "tie_embedding": True, "hard_tokens": "mask", "exited_state": "input"}
    for method in ("softmax", "saturation", "loss"):
        shared, alone = (list(train(tiny_config(method, **values), tiny_dataset, shelf)) for shelf in (memory, None))
        assert of(Measured, shared) == of(Measured, alone)


def test_another_calibration_split_is_another_training(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = list(train(tiny_config(calibration="heldout"), tiny_dataset, memory))
    assert not any(event.reused for event in of(StageStarted, events))


def test_a_reused_stage_tells_what_it_took_when_it_was_computed(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    first = profiles(train(tiny_config("loss"), tiny_dataset, memory, clock=Stopwatch()))
    second = profiles(train(tiny_config("softmax"), tiny_dataset, memory, clock=Stopwatch()))
    assert second["block0.lm"] == first["block0.lm"]
    assert second["block1.lm"] != first["block1.lm"]
