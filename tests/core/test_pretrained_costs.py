"""Costs of pretrained models, against the FLOPs that torch counts as they run."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core import costs
from core.backbones.families import family_of
from core.backbones.families._contract import Dimensions
from core.backbones.shortcuts import Shortcut
from core.config.run_config import ModelConfig
from tests.core.backbones.tiny import tiny_model

pytest.importorskip("transformers")

TOKENS = 16


def as_config(found: Dimensions) -> ModelConfig:
    own = {name: getattr(found, name) for name in ModelConfig.model_fields if hasattr(found, name)}
    return ModelConfig(source="hf:tiny", block_layers=(found.layers,), **own)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma"])
def test_the_flops_are_those_that_are_counted(name: str) -> None:
    model = tiny_model(name)
    model.set_attn_implementation("eager")  # its two matmuls are counted in full, as here
    config = as_config(family_of(name, "").dimensions(model.config))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, TOKENS, dtype=torch.int64))
    angles = counter.get_total_flops() - TOKENS * costs.full_flops(config, 37, TOKENS)
    assert 0 <= angles < 0.001 * counter.get_total_flops()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_skipped_layer_costs_its_keys_and_values(name: str) -> None:
    model, family = tiny_model(name), family_of(name, "")
    config, body = as_config(family.dimensions(model.config)), family.body(model)
    states, positions = torch.zeros(1, TOKENS, config.dim), torch.arange(TOKENS)[None]
    inputs = family.layer_inputs(body, states, positions)[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        family.keys_values(family.layers(body)[0], states, inputs)
    queries = 2 * config.dim**2 if name == "gpt2" else 0  # one projection makes all three
    assert counter.get_total_flops() == TOKENS * (costs.skipped_layer_flops(config) + queries)


def shortcut_weights(dim: int) -> int:
    return sum(weight.numel() for weight in Shortcut(dim).parameters())


def test_a_skipped_layer_also_costs_what_stands_in_for_it() -> None:
    model, positions = ModelConfig(source="hf:tiny", block_layers=(2, 3), dim=24), torch.arange(TOKENS)[None]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Shortcut(24)(torch.zeros(1, TOKENS, 24), positions)
    assert counter.get_total_flops() == TOKENS * costs.shortcut_flops(model)
    copied, mapped = (costs.ExitCosts(model, 37, TOKENS, False, state) for state in ("copy", "linear"))
    each = (1 - 0.25, 0.25)  # a quarter leaves, and is mapped in all layers of the last block but the last one
    assert shortcut_weights(24) == costs.shortcut_parameters(model)
    assert mapped.flops(each[::-1]) - copied.flops(each[::-1]) == pytest.approx(0.25 * 2 * costs.shortcut_flops(model))


def test_readouts_are_paid_for_by_every_token_that_arrives() -> None:
    plain = ModelConfig(source="hf:tiny", block_layers=(1, 1))
    affine = ModelConfig(source="hf:tiny", block_layers=(1, 1), readout="affine")
    both = ModelConfig(source="hf:tiny", block_layers=(1, 1), readout="affine", last_readout=True)
    shares, square = (0.25, 0.75), 2 * plain.dim**2
    before, first, all_ = (
        costs.ExitCosts(model, 100, 8, reads_head=False).flops(shares) for model in (plain, affine, both)
    )
    assert (first - before, all_ - first) == (square, 0.75 * square)
    assert costs.full_flops(both, 100, 8) - costs.full_flops(plain, 100, 8) == square
