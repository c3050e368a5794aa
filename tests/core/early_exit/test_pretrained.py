"""Early exit of pretrained models: what really skips gives what the plain, masked run gives, for each architecture."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from core import costs
from core.backbones.families import families
from core.backbones.families._contract import Family
from core.backbones.model import PretrainedModel
from core.config.run_config import ModelConfig, build, preset_layer, set_layer
from core.early_exit import cached_blocks
from core.early_exit.generation import generate
from core.early_exit.masked import Arrival, Walk, early_exit_states, go_on
from core.early_exit.packed_attention import in_reach
from core.early_exit.sampling import GenerationOptions
from core.early_exit.skipping import skipping_states
from core.model import ExitedState
from tests.core.backbones.tiny import LAYERS, VOCABULARY, tiny_model
from tests.faults.training import soak

pytest.importorskip("transformers")

ARCHITECTURES = [(family, name) for family in families() for name in family.model_types[: soak(2)]]
"""Two of each family, all of them in `make soak`; test_families has them all."""
CONFIG = build(map(set_layer, ("method=softmax", "exited_state=copy", "seq_len=64")))
EXITED_STATES: tuple[ExitedState, ...] = ("copy", "linear", "deferred")
each = pytest.mark.parametrize(("family", "name"), ARCHITECTURES, ids=[name for _, name in ARCHITECTURES])


def with_exits(
    family: Family,
    name: str,
    exited_state: ExitedState = "copy",
    block_layers: tuple[int, ...] = (1,) * LAYERS,
    **changes: Any,
) -> PretrainedModel:
    """Build a tiny model; under `linear` with shortcuts drawn at random, which move states about as layers do."""
    causal_lm = tiny_model(name, **changes)
    dimensions = family.dimensions(causal_lm.config)
    config = ModelConfig(source="hf:tiny", dim=dimensions.dim, block_layers=block_layers)
    model = PretrainedModel(causal_lm, family, dimensions, config, shortcuts=exited_state == "linear")
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.shortcuts.parameters() if model.shortcuts is not None else ():
            weight.copy_(torch.randn(weight.shape, generator=draw) * 0.4)
    return model


def tokens(windows: int, length: int) -> Tensor:
    return torch.randint(0, VOCABULARY, (windows, length), generator=torch.Generator().manual_seed(3))


def arrivals(walk: Walk, stays: list[Tensor]) -> list[Arrival]:
    """Let the tokens go that `stays [B, T]` says of each block."""
    found, leaves = list[Arrival](), None
    while (arrival := go_on(walk, leaves)) is not None:
        found.append(arrival)
        leaves = ~stays[arrival.block][arrival.tokens]
    return found


@each
def test_skipping_equals_the_masked_run(family: Family, name: str) -> None:
    token_ids, draw = tokens(6, 13), torch.Generator().manual_seed(5)
    stays = [torch.rand(6, 13, generator=draw) < share for share in (0.6, 0.5, 0.0)]
    stays[0][2] = False  # a window that all tokens leave at once
    stays[0][3] = True  # and one that none leaves
    for exited_state in EXITED_STATES:
        assert_skipping_is_masked(with_exits(family, name, exited_state), token_ids, stays, exited_state)


def test_exited_tokens_go_through_a_shortcut_in_place_of_each_layer() -> None:
    family = next(family for family in families() if "llama" in family.model_types)
    model = with_exits(family, "llama", "linear", (1, 2, 2), num_hidden_layers=5)
    assert model.shortcuts is not None
    assert list(model.shortcuts) == ["1", "2", "3"]
    token_ids = tokens(6, 13)
    stays = [torch.rand(6, 13, generator=torch.Generator().manual_seed(5)) < share for share in (0.6, 0.5, 0.0)]
    stays[0][:2, 0], stays[0][2:4, 0], stays[1][2:4, 0] = False, True, False  # first tokens leave, here and there
    assert_skipping_is_masked(model, token_ids, stays, "linear")
    active, positions = torch.zeros(1, 4, dtype=torch.bool), torch.arange(4)[None]
    states = torch.randn(1, 4, model.embedding.embedding_dim)
    with torch.no_grad():
        left = model.blocks[1](states, active, "linear")
        mapped = model.shortcuts.instead(2, model.shortcuts.instead(1, states, positions), positions)
    assert_skipping_costs_what_the_formula_says(model, token_ids, stays)
    assert torch.equal(left, mapped)
    assert torch.equal(left[0, 0], model.shortcuts["2"].first)
    assert not torch.allclose(left[0, 1], states[0, 1])


def assert_skipping_is_masked(
    model: PretrainedModel, token_ids: Tensor, stays: list[Tensor], exited_state: ExitedState
) -> None:
    plain = arrivals(early_exit_states(model, token_ids, exited_state), stays)
    skipped = arrivals(skipping_states(model, token_ids, exited_state), stays)
    assert len(skipped) == len(plain) == LAYERS
    for found, expected in zip(skipped, plain, strict=True):
        assert torch.equal(found.tokens, expected.tokens)
        for part in ("entered", "output", "hidden"):
            torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=1e-4, rtol=1e-4)
    assert 0 < len(skipped[2].output) < len(skipped[1].output) < token_ids.numel()


def assert_skipping_costs_what_the_formula_says(model: PretrainedModel, token_ids: Tensor, stays: list[Tensor]) -> None:
    """Count what shortcuts add to a walk, where some tokens left that no token attends to any more."""
    shortcuts, counted = model.shortcuts, list[int]()
    for has_shortcuts in (True, False):
        for block in model.blocks:
            block._model = (model.body, shortcuts if has_shortcuts else None)  # type: ignore[assignment]
        with FlopCounterMode(display=False) as counter:
            arrivals(skipping_states(model, token_ids, "linear"), stays)
        counted.append(counter.get_total_flops())
    for block in model.blocks:
        block._model = (model.body, shortcuts)  # type: ignore[assignment]
    config = ModelConfig(source="hf:tiny", dim=model.embedding.embedding_dim, block_layers=(1, 2, 2))
    here = [stays[0], stays[0] & stays[1]]
    left = [(in_reach(stay, causal=True) & ~stay).double().mean() for stay in here]  # attended to in blocks 1, 2
    gone = [(~stay).double().mean() for stay in here]
    shares = [float(gone[0]), float(gone[1] - gone[0]), float(1 - gone[1])]
    copied, mapped = (costs.ExitCosts(config, 37, 13, False, state) for state in ("copy", "linear"))
    attended = (0.0, *map(float, left))
    expected = token_ids.numel() * (mapped.flops(shares, attended) - copied.flops(shares, attended))
    assert 0 < sum(left) < sum(gone)
    assert counted[0] - counted[1] == pytest.approx(expected)


@each
def test_without_exits_the_model_predicts_as_transformers_does(family: Family, name: str) -> None:
    token_ids = tokens(3, 13)
    with torch.no_grad():
        expected = tiny_model(name)(token_ids).logits
    model = with_exits(family, name)
    stays = [torch.ones_like(token_ids, dtype=torch.bool)] * LAYERS
    last = arrivals(skipping_states(model, token_ids, "copy"), stays)[-1]
    found = (last.hidden @ model.head_weight(LAYERS - 1).T).view_as(expected)
    assert (found - expected).abs().max() < 1e-4


def test_the_walk_ends_when_all_tokens_have_left() -> None:
    model, token_ids = with_exits(*ARCHITECTURES[0]), tokens(2, 5)
    stays = [torch.zeros_like(token_ids, dtype=torch.bool)] * LAYERS
    assert [arrival.block for arrival in arrivals(skipping_states(model, token_ids, "copy"), stays)] == [0]


def test_a_token_that_left_is_attended_to_with_the_state_it_left_with() -> None:
    model, token_ids = with_exits(*ARCHITECTURES[0]), tokens(1, 6)
    stays = [torch.ones_like(token_ids, dtype=torch.bool) for _ in range(LAYERS)]
    whole = arrivals(skipping_states(model, token_ids, "copy"), stays)
    stays[0][0, 2] = False
    some = arrivals(skipping_states(model, token_ids, "copy"), stays)
    before, after = slice(0, 2), slice(2, 5)
    assert torch.allclose(some[2].output[before], whole[2].output[before], atol=1e-5)
    assert not torch.allclose(some[2].output[after], whole[2].output[[3, 4, 5]], atol=1e-2)


@each
def test_generation_without_exits_is_that_of_transformers(family: Family, name: str) -> None:
    model, prompt = with_exits(family, name), tokens(1, 4)
    expected = tiny_model(name).generate(
        prompt, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(prompt), pad_token_id=1
    )
    options = GenerationOptions(max_tokens=12, temperature=0, window=64)
    written = [token.token for token in generate(model, (), CONFIG, prompt[0].tolist(), options)]
    assert written == expected[0, 4:].tolist()


@pytest.mark.parametrize("exited_state", EXITED_STATES)
@each
def test_generation_with_exits_is_that_of_the_masked_run(family: Family, name: str, exited_state: ExitedState) -> None:
    values = ("method=softmax", f"exited_state={exited_state}", "seq_len=64")
    config = build([preset_layer("pretrained"), *map(set_layer, values)])
    model, text = with_exits(family, name, exited_state), tokens(1, 5)[0].tolist()
    thresholds, seen = (0.2, 0.12), set()
    options = GenerationOptions(max_tokens=12, temperature=0, window=64)
    for token in generate(model, thresholds, config, list(text), options):
        block, logits = masked_prediction(model, text, thresholds, exited_state)
        assert (token.block, token.token) == (block, int(logits.argmax()))
        text.append(token.token)
        seen.add(token.block)
    assert len(seen) > 1


def test_generation_goes_through_shortcuts_in_every_layer_and_begins_windows_with_their_constants() -> None:
    family = next(family for family in families() if "llama" in family.model_types)
    model = with_exits(family, "llama", "linear", (1, 2, 2), num_hidden_layers=5)
    values = ("method=softmax", "exited_state=linear", "seq_len=64")
    config, text = build([preset_layer("pretrained"), *map(set_layer, values)]), tokens(1, 5)[0].tolist()
    thresholds, seen, first = (0.15, 0.12), set(), set()
    options = GenerationOptions(max_tokens=12, temperature=0, window=8)
    for token in generate(model, thresholds, config, list(text), options):
        window = text[-8:]
        block, logits = masked_prediction(model, window, thresholds, "linear")
        assert (token.block, token.token) == (block, int(logits.argmax()))
        first.add(masked_prediction(model, window[:1], thresholds, "linear")[0])
        text.append(token.token)
        seen.add(token.block)
    assert len(seen) > 1
    assert min(first) < 2 <= len(text) - 8


def test_a_pretrained_model_s_window_is_its_context_and_its_cache_grows_up_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached_blocks, "SMALLEST_ROOM", 2)
    config = build([preset_layer("pretrained"), set_layer("seq_len=8")])
    config = config.model_copy(update={"model": config.model.model_copy(update={"max_seq_len": 64})})
    family = next(family for family in families() if "llama" in family.model_types)
    model, prompt = with_exits(family, "llama"), tokens(1, 3)
    expected = (
        tiny_model("llama")
        .generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False, pad_token_id=1)[
            0, 3:
        ]
        .tolist()
    )
    options = GenerationOptions(max_tokens=30, temperature=0)
    assert [token.token for token in generate(model, (), config, prompt[0].tolist(), options)] == expected


def masked_prediction(
    model: PretrainedModel, text: list[int], thresholds: tuple[float, ...], exited_state: ExitedState
) -> tuple[int, Tensor]:
    """Run everything through the masked walk; return the block that the last token leaves at, and its logits."""
    walk, leaves = early_exit_states(model, torch.tensor([text]), exited_state), None
    while (arrival := go_on(walk, leaves)) is not None:
        logits = arrival.hidden @ model.head_weight(arrival.block).T
        last = arrival.block == len(model.blocks) - 1
        leaves = torch.full((len(logits),), last) if last else logits.softmax(1).amax(1) >= thresholds[arrival.block]
        if leaves[-1]:
            return arrival.block, logits[-1]
    raise AssertionError("all leave at the last block")
