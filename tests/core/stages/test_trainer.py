"""One step of LM training: what it moves, what it starts from, what it costs."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.data.windows import Dataset
from core.machine.clock import Stopwatch
from core.model import Transformer, new_model
from core.stages.block_data import from_states, from_words
from core.stages.lm import train_block
from core.stages.trainer import Trainer, begin_as_before, rate_factor
from tests.core.training import DIM, WORDS, MakeConfig, result_of


def changed(model: Transformer, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    ("values", "block", "expected"),
    [
        ({}, 0, ["blocks", "head"]),
        ({}, 1, ["blocks", "head"]),
        ({"train_embedding": True}, 0, ["blocks", "embedding", "head"]),
        ({"train_embedding": True}, 1, ["blocks", "head"]),
        ({"train_embedding": True, "tie_embedding": True}, 0, ["blocks", "embedding", "head"]),
        ({"train_embedding": True, "tie_embedding": True, "head": "frozen"}, 1, ["blocks"]),
        ({"head": "frozen"}, 0, ["blocks", "head"]),
        ({"head": "frozen"}, 1, ["blocks"]),
        ({"head": "per_block"}, 0, ["blocks", "head"]),
        ({"head": "per_block"}, 1, ["blocks", "later_heads"]),
        ({"exit_classifier_mode": "joint"}, 1, ["blocks", "classifiers", "head"]),
    ],
    ids=str,
)
def test_a_block_s_training_moves_what_the_switches_say(
    values: dict[str, Any], block: int, expected: list[str], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(max_epochs=1, **values)
    model = new_model(config, WORDS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    if block:
        data = from_states(data.states(slice(None)).detach(), data.targets)
    weights = result_of(train_block(model, block, data, config, f"block{block}.lm"))
    assert sorted(changed(model, before)) == expected
    assert not any(name.startswith(f"blocks.{1 - block}") for name in weights)


def test_heads_of_blocks_start_as_copies_of_the_one_before_as_it_was_trained(tiny_config: MakeConfig) -> None:
    config = tiny_config(head="per_block", block_layers=(1, 1, 1))
    model = new_model(config, WORDS)
    assert all(torch.equal(model.head_weight(block), model.head.weight) for block in (1, 2))
    model.head_weight(1).data.add_(1)
    begin_as_before(model, 2, config)
    assert torch.equal(model.head_weight(2), model.head_weight(1))
    assert model.head_weight(2) is not model.head_weight(1)
    assert not torch.equal(model.head_weight(0), model.head_weight(1))


@torch.no_grad()
def test_an_identity_block_starts_by_saying_what_the_block_before_said(tiny_config: MakeConfig) -> None:
    config = tiny_config(later_init="identity", norm="pre", block_layers=(1, 2))
    model = new_model(config, WORDS)
    model.blocks[0].readout.weight.uniform_(0.5, 1.5)
    begin_as_before(model, 1, config)
    states = model.blocks[0](torch.randn(3, 4, DIM))
    after = model.blocks[1](states)
    assert torch.equal(after, states)
    assert torch.equal(model.readout(1, after), model.readout(0, states))
    assert not torch.equal(model.blocks[0](states), states)


def test_the_learning_rate_rises_and_falls_as_asked(tiny_config: MakeConfig) -> None:
    constant = tiny_config()
    assert [rate_factor(step, 10, constant) for step in (0, 5, 29)] == [1, 1, 1]
    warm = tiny_config(warmup_steps=4)
    assert [rate_factor(step, 10, warm) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = tiny_config(decay="cosine", max_epochs=3)
    assert rate_factor(0, 10, cosine) == 1
    assert rate_factor(15, 10, cosine) == pytest.approx(0.5)
    assert 0 < rate_factor(29, 10, cosine) < 0.01


def _addmm_flops(own: Any, left: Any, right: Any, *, out_shape: Any = None, **options: Any) -> int:
    return int(2 * left[0] * left[1] * right[1])


IN_PLACE = {torch.ops.aten.addmm_: _addmm_flops}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "pre", "head": "frozen"},
        {"train_embedding": True},
        {"train_embedding": True, "tie_embedding": True, "norm": "pre"},
        {"hard_tokens": "mask", "exited_state": "copy"},
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [0, 1])
def test_the_parts_of_a_step_cost_what_torch_counts(
    block: int, values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config, windows = tiny_config(**values), tiny_dataset.train
    model, clock = new_model(config, WORDS), Stopwatch()
    data = from_words(model, windows.inputs, windows.targets)
    if block:
        active = torch.arange(windows.targets.numel()).view_as(windows.targets) % 3 > 0
        data = from_states(model.embedding(windows.inputs).detach(), windows.targets, active)
    trainer = Trainer(model, {block: 1.0}, data, config, "any", 1, clock)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        trainer.step(torch.arange(8))
    (found,) = clock.read("any")
    assert sum(found.part_flops) == counter.get_total_flops()
