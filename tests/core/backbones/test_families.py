"""The contract of every family: the parts together are the model, token by token and with a cache."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.backbones.attention import within_window
from core.backbones.families import families, family_of
from core.backbones.families._contract import Family
from core.backbones.load import parameters
from core.errors import ConfigError
from tests.core.backbones.tiny import VOCABULARY, tiny_model

pytest.importorskip("transformers")

ARCHITECTURES = [(family, name) for family in families() for name in family.model_types]
each = pytest.mark.parametrize(("family", "name"), ARCHITECTURES, ids=[name for _, name in ARCHITECTURES])


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def logits(family: Family, model: Any, token_ids: Tensor, cache: Any = None) -> Tensor:
    """Run the parts one by one; with a cache, `token_ids` follow those that it holds."""
    body, past = family.body(model), cache.get_seq_length() if cache else 0
    positions = torch.arange(past, past + token_ids.shape[1])[None]
    states = family.embed(body, token_ids, positions)
    inputs, windows = family.layer_inputs(body, states, positions), family.dimensions(model.config).windows
    for layer, own, window in zip(family.layers(body), inputs, windows, strict=True):
        mask = within_window(positions, past + token_ids.shape[1], window)
        states = family.run_layer(layer, states, own, mask, cache)
    return model.get_output_embeddings()(family.final_norm(body)(states))


@each
def test_the_parts_give_the_model_s_own_logits(family: Family, name: str) -> None:
    model, token_ids = tiny_model(name), tokens(3, 17)
    with torch.no_grad():
        expected = model(token_ids).logits
    assert expected.std() > 0.1
    assert (logits(family, model, token_ids) - expected).abs().max() < 1e-4


@each
def test_greedy_text_is_that_of_generate(family: Family, name: str) -> None:
    from transformers import DynamicCache

    model, prompt = tiny_model(name), tokens(1, 4)
    expected = model.generate(
        prompt, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(prompt), pad_token_id=1
    )
    written, step, cache = prompt, prompt, DynamicCache()
    while written.shape[1] < expected.shape[1]:
        step = logits(family, model, step, cache)[:, -1:].argmax(-1)
        written = torch.cat((written, step), 1)
    assert written.tolist() == expected.tolist()
    assert len(set(written[0, 4:].tolist())) > 1


@each
def test_keys_and_values_of_a_state_are_those_that_its_layer_makes(family: Family, name: str) -> None:
    class Recorder:
        def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            self.seen = keys, values
            return keys, values

    model, token_ids, positions = tiny_model(name), tokens(2, 9), torch.arange(9)[None]
    body, recorder = family.body(model), Recorder()
    with torch.no_grad():
        states = family.embed(body, token_ids, positions)
        for layer, inputs in zip(family.layers(body), family.layer_inputs(body, states, positions), strict=True):
            output = family.run_layer(layer, states, inputs, None, recorder)
            for found, expected in zip(family.keys_values(layer, states, inputs), recorder.seen, strict=True):
                torch.testing.assert_close(found, expected)
            states = output


@pytest.mark.parametrize("tied", [True, False])
@each
def test_the_dimensions_are_the_model_s(family: Family, name: str, tied: bool) -> None:
    model = tiny_model(name, tie_word_embeddings=tied)
    found = family.dimensions(model.config)
    layers = family.layers(family.body(model))
    assert (found.layers, len(found.windows), found.vocab_size, found.max_seq_len) == (len(layers), len(layers), 37, 64)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    positions = 64 * 24 if name == "gpt2" else 0
    assert parameters(found) == matrices - positions
    norm = vars(family.final_norm(family.body(model)))
    assert found.eps in [value for name, value in norm.items() if "eps" in name]
    assert found.tied == tied


def test_another_architecture_is_refused_by_name_with_the_list() -> None:
    with pytest.raises(ConfigError, match=r"architecture mamba, which is not supported; these are: gemma, .*qwen3"):
        family_of("mamba", "hf:x")


def test_capped_logits_are_refused() -> None:
    family = family_of("gemma3_text", "")
    with pytest.raises(ValueError, match="caps its logits"):
        family.dimensions(tiny_model("gemma3_text", final_logit_softcapping=30.0).config)
