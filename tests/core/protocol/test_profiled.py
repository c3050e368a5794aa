"""Where the time goes: every stage is timed, and no number depends on it."""

from typing import Any

import pytest

from core.data.windows import Dataset
from core.events import Profiled, StageEnded, StageStarted, Step
from core.machine.clock import Stopwatch
from core.protocol.train import train
from tests.core.training import WORDS, MakeConfig, numbers, profiles, stage_names

CONFIGS: list[dict[str, Any]] = [
    {},
    {"method": "softmax", "hard_tokens": "mask", "head": "frozen", "norm": "pre"},
    {"method": "distill", "protocol": "joint", "train_embedding": True},
    {"exit_classifier_mode": "joint"},
    {"protocol": "full_depth"},
    {"method": "gain", "calibration": "heldout", "classifier_fit": "lbfgs", "exited_state": "copy"},
]


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_a_profiled_run_gives_the_same_numbers_and_times_every_stage(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(**values)
    plain = list(train(config, tiny_dataset))
    profiled = list(train(config, tiny_dataset, clock=Stopwatch()))
    assert numbers(profiled, steps=True) == numbers(plain, steps=True)
    assert profiles(plain) == {}
    found = profiles(profiled)
    assert tuple(found) == stage_names(config)
    for one in found.values():
        assert 0 < sum(one.part_seconds) <= one.seconds
        assert all(part >= 0 for part in one.part_seconds)
    places = [index for index, event in enumerate(profiled) if isinstance(event, Profiled)]
    assert all(isinstance(profiled[index + 1], StageEnded) for index in places)


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_flops_announced_for_steps_are_those_of_the_parts(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    """So that what the Live screen shows without a profile agrees with the profile."""
    events = list(train(tiny_config(**values), tiny_dataset, clock=Stopwatch()))
    found = profiles(events)
    announced = [event for event in events if isinstance(event, StageStarted) and event.flops]
    assert {event.kind for event in announced} >= {"lm"}
    for event in announced:
        one = found[event.stage]
        flops = dict(zip(one.parts, one.part_flops, strict=True))
        steps = [step for step in events if isinstance(step, Step) and step.stage == event.stage]
        tokens = sum(step.tokens for step in steps)
        measured = sum(flops.values()) - flops.get("validation", 0) - flops.get("evaluation", 0)
        assert measured == pytest.approx(event.flops * tokens), event.stage


def test_the_reads_of_heads_are_counted_where_the_head_decides(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    """All tokens go through the head at block 0, and those that stay once more."""
    config = tiny_config("softmax")
    events = list(train(config, tiny_dataset, clock=Stopwatch()))
    early = next(event for event in events if getattr(event, "name", "") == "early exit")
    one = profiles(events)["evaluation"]
    each, left = (one.part_flops[one.parts.index(part)] for part in ("each block", "early exit"))
    head = 2 * 8 * WORDS
    assert each - left == pytest.approx(early.tokens * (2 - (1 + early.exit_shares[1])) * head)
