"""Keys of stages: the same exactly where runs compute the same weights."""

from typing import Any

import pytest
import torch

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.protocol.memory import StageMemory
from core.protocol.stage_key import stage_keys
from core.protocol.train import train
from tests.core.training import SOUND, MakeConfig, Shelf

JOINT = {**SOUND, "protocol": "joint"}
PRICED = {**JOINT, "policy": "price"}


def weights(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    shelf = Shelf()
    list(train(config, dataset, StageMemory(), shelf))  # type: ignore[arg-type]
    return shelf.kept


@pytest.mark.parametrize(
    ("method", "before", "after", "shared"),
    [
        ("loss", SOUND, {"hard_ratio": 0.3}, {"block0.lm", "block0.exit"}),
        ("loss", SOUND, {"method": "distill"}, {"block0.lm"}),
        ("loss", JOINT, {"hard_ratio": 0.3}, {"joint.lm", "block0.exit"}),
        ("gain", PRICED, {"price": 0.3}, {"joint.lm", "block0.refit"}),
        ("loss", {**SOUND, "policy": "price"}, {"price": 0.3}, {"block0.lm", "block0.exit", "block1.lm"}),
        ("loss", {"exit_classifier_mode": "joint"}, {"hard_ratio": 0.3}, {"block0.lm"}),
        ("loss", {**JOINT, "exits_from": 1}, {"hard_ratio": 0.3}, set()),
        ("loss", SOUND, {"seed": 43}, set()),
        ("loss", SOUND, {"dropout": 0.1}, set()),
        ("loss", SOUND, {"threads": 2}, set()),
    ],
)
def test_stages_with_the_same_key_have_the_same_bits(
    method: str,
    before: dict[str, Any],
    after: dict[str, Any],
    shared: set[str],
    tiny_config: MakeConfig,
    tiny_dataset: Dataset,
) -> None:
    one = tiny_config(method, max_epochs=1, **before)
    other = tiny_config(**{"method": method, "max_epochs": 1, **before, **after})
    keys, others = stage_keys(one, "text"), stage_keys(other, "text")
    same = {stage for stage, key in keys.items() if others.get(stage) == key}
    assert same >= shared
    if not shared:
        assert not same
    computed, again = (weights(config, tiny_dataset) for config in (one, other)) if same else ({}, {})
    for stage in same:
        assert all(torch.equal(computed[stage][name], again[stage][name]) for name in computed[stage])


def test_other_text_is_another_stage(tiny_config: MakeConfig) -> None:
    config = tiny_config()
    assert not set(stage_keys(config, "one").values()) & set(stage_keys(config, "another").values())
