"""The fit of what stands in for skipped layers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core import costs
from core.backbones.model import PretrainedModel, load_pretrained
from core.config.derived import MOST_SHORTCUT_TOKENS, shortcut_windows
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import load_dataset
from core.events import StageStarted, Step
from core.generators import drained
from core.protocol.resolve import resolve
from core.stages.backbone import cache_states
from core.stages.shortcuts import fit_shortcuts
from tests.core.backbones.tiny import save_tiny

pytest.importorskip("transformers")
FITTED = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunConfig:
    folder = save_tiny(tmp_path_factory.mktemp("tiny"), num_hidden_layers=5)
    values = [
        f"model.source=hf:{folder}", f"data.corpus={text}", "seq_len=8", "num_samples=80", "machine.threads=1",
        "machine.device=cpu", "block_layers=1,2,2", "exited_state=linear",
    ]  # fmt: skip
    return resolve(build([preset_layer("pretrained"), *map(set_layer, values)]))


def fitted(config: RunConfig, windows: int = FITTED) -> tuple[PretrainedModel, Tensor, list[object]]:
    """Return a model with fitted shortcuts, the token ids of all windows, and the events of the fit."""
    inputs = load_dataset(config.data, config.train.batch_size, config.model.source).train.inputs
    model = load_pretrained(config)
    cache = drained(cache_states(model, inputs, config, "backbone"))
    events = list(fit_shortcuts(model, cache, windows, config, "shortcuts"))
    return model, inputs, events


@torch.no_grad()
def layer_states(model: PretrainedModel, inputs: Tensor) -> list[Tensor]:
    """Return the states that enter each layer, `[N, T, D]`."""
    found = [model.embed(inputs)]
    for block in model.blocks:
        for number in block.numbers:
            found.append(block.run_alone(number, found[-1]))
    return found


def test_a_layer_run_alone_is_the_layer_of_its_block(config: RunConfig) -> None:
    model, inputs, _ = fitted(config)
    states = layer_states(model, inputs)
    with torch.no_grad():
        torch.testing.assert_close(model.blocks[1](states[1]), states[3])


@torch.no_grad()
def test_exited_tokens_come_nearer_to_the_states_of_the_model_than_copies_do(config: RunConfig) -> None:
    model, inputs, _ = fitted(config)
    assert model.shortcuts is not None
    states, positions = layer_states(model, inputs[FITTED:]), torch.arange(inputs.shape[1])[None]
    for left in (1, 3):  # the first layer that a token that left skips
        mapped = states[left]
        for number in range(left, 4):
            mapped = model.shortcuts.instead(number, mapped, positions)
            goal = states[number + 1]
            ours, copied = ((goal - each)[:, 1:].square().mean() for each in (mapped, states[left]))
            assert ours < 0.9 * copied


def test_a_window_s_first_token_is_the_mean_of_those_that_it_was_fitted_on(config: RunConfig) -> None:
    model, inputs, _ = fitted(config)
    assert model.shortcuts is not None
    states = layer_states(model, inputs[:FITTED])
    for number in (1, 2, 3):
        first = model.shortcuts[str(number)].first
        torch.testing.assert_close(first, states[number + 1][:, 0].mean(0), atol=2e-2, rtol=2e-2)  # half precision


@torch.no_grad()
def test_one_window_is_enough_for_a_fit(config: RunConfig) -> None:
    model, inputs, _ = fitted(config, windows=1)
    assert model.shortcuts is not None
    states, positions = layer_states(model, inputs[:1]), torch.arange(inputs.shape[1])[None]
    mapped = model.shortcuts.instead(1, states[1], positions)
    assert (mapped - states[2]).square().mean() < 0.3 * (states[1] - states[2]).square().mean()


def test_its_stage_has_a_step_for_each_map_and_sets_all_weights(config: RunConfig) -> None:
    model, _, events = fitted(config)
    begun, steps = events[0], [event for event in events if isinstance(event, Step)]
    assert isinstance(begun, StageStarted)
    assert begun.steps == len(steps) == 3
    assert {step.tokens for step in steps} == {begun.tokens} == {FITTED * 8}
    exits = (1 + 1 + 2) / 3  # whose tokens a map is fitted on
    mapped = costs.shortcut_flops(config.model) + 4 * config.model.dim**2
    assert begun.flops == pytest.approx(costs.layer_flops(config.model, 8) + exits * mapped)
    assert model.shortcuts is not None
    assert all(float(weight.abs().sum()) > 0 for weight in model.shortcuts.state_dict().values())


def test_a_map_is_fitted_on_so_many_tokens_at_most() -> None:
    assert shortcut_windows(10, 128) == 10
    assert shortcut_windows(10_000, 128) * 128 == MOST_SHORTCUT_TOKENS
    assert shortcut_windows(3, 10**6) == 1
