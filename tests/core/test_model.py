"""The transformer against a plain transcription of its formulas."""

import math

import pytest
import torch
from torch import Tensor

from core.config.run_config import ModelConfig
from core.model import Block, ExitedState, Layer, Transformer, new_model
from core.rng import stream
from tests.core.training import MakeConfig

DIM, HEADS, FFN, EPS = 8, 2, 12, 1e-6
WORDS = 30


def config(*block_layers: int, dim: int = DIM, causal: bool = True, norm: str = "post") -> ModelConfig:
    layers = block_layers or (2, 1)
    return ModelConfig(
        dim=dim, num_heads=HEADS, ffn_dim=FFN, block_layers=layers, max_seq_len=16, eps=EPS, causal=causal, norm=norm
    )


def states(windows: int = 3, tokens: int = 5) -> Tensor:
    return torch.randn(windows, tokens, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + EPS).sqrt() * weight


def turned(vector: Tensor, position: int) -> Tensor:
    """Rotary position of one head's vector, pair by pair."""
    half = len(vector) // 2
    result = torch.empty_like(vector)
    for pair in range(half):
        angle = position / 10_000.0 ** (2 * pair / len(vector))
        low, high = vector[pair], vector[pair + half]
        result[pair] = low * math.cos(angle) - high * math.sin(angle)
        result[pair + half] = high * math.cos(angle) + low * math.sin(angle)
    return result


def plain_attention(layer: Layer, x: Tensor, causal: bool, present: list[bool] | None = None) -> Tensor:
    """One window `[T, D]`, token by token; a token that is not present is seen by itself alone."""
    part = layer.attention
    width = DIM // HEADS
    rows = []
    for here in range(len(x)):
        heads = []
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            query = turned((part.query.weight @ x[here])[own], here)
            seen = [
                there
                for there in range(here + 1 if causal else len(x))
                if not present or present[there] or there == here
            ]
            keys = [turned((part.key.weight @ x[there])[own], there) for there in seen]
            values = [(part.value.weight @ x[there])[own] for there in seen]
            weights = torch.stack([query @ key / math.sqrt(width) for key in keys]).softmax(0)
            heads.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
        rows.append(part.output.weight @ torch.cat(heads))
    return torch.stack(rows)


def plain_ffn(layer: Layer, x: Tensor) -> Tensor:
    gate = x @ layer.ffn.w1.weight.T
    return gate * gate.sigmoid() * (x @ layer.ffn.w3.weight.T) @ layer.ffn.w2.weight.T


def plain_layer(layer: Layer, x: Tensor, causal: bool) -> Tensor:
    x = norm(x + plain_attention(layer, x, causal), layer.attention_norm.weight)
    return norm(x + plain_ffn(layer, x), layer.ffn_norm.weight)


def plain_pre_layer(layer: Layer, x: Tensor, causal: bool, present: list[bool] | None = None) -> Tensor:
    x = x + plain_attention(layer, norm(x, layer.attention_norm.weight), causal, present)
    return x + plain_ffn(layer, norm(x, layer.ffn_norm.weight))


def double_block(causal: bool = True, layers: int = 2, norm: str = "post") -> Block:
    """A block in float64 with norm weights that are not all 1."""
    block = Transformer(config(layers, causal=causal, norm=norm), WORDS, seed=3, dtype=torch.float64).blocks[0]
    draw = torch.Generator().manual_seed(2)
    for part in block.modules():
        if isinstance(part, torch.nn.RMSNorm):
            part.weight.data.uniform_(0.5, 1.5, generator=draw)
    return block


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_a_block_computes_the_formulas_of_the_report(causal: bool) -> None:
    block, x = double_block(causal), states()
    expected = []
    for window in x:
        for layer in block.layers:
            window = plain_layer(layer, window, causal)
        expected.append(window)
    torch.testing.assert_close(block(x), torch.stack(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_a_pre_norm_block_normalises_before_each_branch_and_reads_out_through_a_norm(causal: bool) -> None:
    block, x = double_block(causal, norm="pre"), states()
    expected = []
    for window in x:
        for layer in block.layers:
            window = plain_pre_layer(layer, window, causal)
        expected.append(window)
    torch.testing.assert_close(block(x), torch.stack(expected), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(block.readout(x), norm(x, block.readout.weight), rtol=1e-9, atol=1e-9)


def test_a_post_norm_block_reads_out_what_it_says() -> None:
    x = states()
    assert double_block().readout(x) is x


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("exited_state", ["copy", "drop"])
@torch.no_grad()
def test_tokens_that_have_left_keep_their_state_and_are_seen_as_asked(exited_state: ExitedState, causal: bool) -> None:
    """Layer by layer and token by token: who has left keeps its state, which others see (copy) or don't (drop)."""
    block, x = double_block(causal, layers=3, norm="pre"), states(4, 6)
    active = torch.rand(4, 6, generator=torch.Generator().manual_seed(8)) < 0.5
    active[0], active[1] = True, False
    found = block(x, active, exited_state)
    for window, staying, outcome in zip(x, active.tolist(), found, strict=True):
        for layer in block.layers:
            after = plain_pre_layer(layer, window, causal, staying if exited_state == "drop" else None)
            window = torch.stack([after[token] if staying[token] else window[token] for token in range(6)])
        torch.testing.assert_close(outcome, window, rtol=1e-9, atol=1e-9)
    assert torch.equal(found[~active], x[~active])


@torch.no_grad()
def test_with_nobody_gone_and_with_the_report_s_rule_a_block_runs_all_tokens() -> None:
    block, x = double_block(), states(3, 6)
    everyone = torch.ones(3, 6, dtype=torch.bool)
    for exited_state in ("input", "copy", "drop"):
        torch.testing.assert_close(block(x, everyone, exited_state), block(x))
    assert torch.equal(block(x, ~everyone, "input"), block(x))


@torch.no_grad()
def test_a_later_token_does_not_change_earlier_outputs() -> None:
    block, x = double_block(), states()
    changed = x.clone()
    changed[:, 3] += 1
    before, after = block(x), block(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@torch.no_grad()
def test_without_the_causal_mask_a_later_token_changes_earlier_outputs() -> None:
    block, x = double_block(causal=False), states()
    changed = x.clone()
    changed[:, 3] += 1
    assert not torch.allclose(block(x)[:, :3], block(changed)[:, :3])


@torch.no_grad()
def test_windows_do_not_see_each_other() -> None:
    block, x = double_block(), states()
    torch.testing.assert_close(block(x)[1:2], block(x[1:2]))


def test_the_embedding_is_random_with_std_002_and_never_trained() -> None:
    embedding = Transformer(config(), 4000, seed=1).embedding.weight
    assert embedding.std().item() == pytest.approx(0.02, rel=0.03)
    assert embedding.mean().item() == pytest.approx(0, abs=0.001)
    assert not embedding.requires_grad


@pytest.mark.parametrize("dim", [8, 32])
def test_the_head_starts_with_std_one_over_root_dim_and_is_trained(dim: int) -> None:
    head = Transformer(config(dim=dim), 4000, seed=1).head
    assert head.weight.std().item() == pytest.approx(dim**-0.5, rel=0.03)
    assert head.weight.requires_grad
    assert head.bias is None


def test_linears_start_uniform_within_one_over_root_fan_in() -> None:
    layer = Transformer(config(dim=32), WORDS, seed=1).blocks[0].layers[0]
    for linear in (layer.attention.query, layer.attention.output, layer.ffn.w1, layer.ffn.w2):
        bound = linear.in_features**-0.5
        assert 0.9 * bound < linear.weight.abs().max() <= bound
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert linear.bias is None


def test_block_0_starts_the_same_whatever_the_number_of_blocks() -> None:
    one, three = Transformer(config(2), WORDS, seed=5), Transformer(config(2, 1, 3), WORDS, seed=5)
    for name in ("blocks.0.", "classifiers.0.", "head.", "embedding."):
        weights = {key: value for key, value in one.state_dict().items() if key.startswith(name)}
        assert weights
        assert all(torch.equal(value, three.state_dict()[key]) for key, value in weights.items())


def test_blocks_and_layers_start_differently_from_one_another() -> None:
    model = Transformer(config(2, 2), WORDS, seed=5)
    queries = [layer.attention.query.weight for block in model.blocks for layer in block.layers]
    assert all(not torch.equal(a, b) for index, a in enumerate(queries) for b in queries[:index])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    torch.manual_seed(0)
    first = Transformer(config(), WORDS, seed=5).state_dict()
    torch.manual_seed(99)
    same, other = (Transformer(config(), WORDS, seed=seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    drawn = [name for name in first if "norm" not in name]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_an_exit_classifier_gives_one_logit_a_token() -> None:
    classifier = Transformer(config(), WORDS, seed=5).classifiers[0]
    x = states().float().flatten(0, 1)
    expected = x @ classifier.linear.weight[0] + classifier.linear.bias
    torch.testing.assert_close(classifier(x), expected)


def test_tied_weights_are_one_matrix(tiny_config: MakeConfig) -> None:
    model = new_model(tiny_config(tie_embedding=True, train_embedding=True, dtype="float64"), WORDS)
    assert model.head.weight is model.embedding.weight
    assert model.head_weight(1) is model.embedding.weight
    assert sum(weight.numel() for weight in model.parameters()) < 2 * WORDS * DIM + sum(
        weight.numel() for weight in [*model.blocks.parameters(), *model.classifiers.parameters()]
    )


def test_dropout_is_active_in_training_steps_alone(tiny_config: MakeConfig) -> None:
    model = new_model(tiny_config(dropout=0.5), WORDS)
    words = torch.arange(12).view(3, 4)
    quiet = model.blocks[0](model.embed(words))
    model.train()
    assert torch.equal(model.blocks[0](model.embed(words)), quiet)
    with model.dropping(stream(1, "a")):
        first = model.blocks[0](model.embed(words))
        dropped = model.embed(words)
    with model.dropping(stream(1, "a")):
        again = model.blocks[0](model.embed(words))
    with model.dropping(stream(1, "b")):
        other = model.blocks[0](model.embed(words))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, quiet)
    kept = dropped != 0
    assert 0.2 < kept.double().mean().item() < 0.8
    torch.testing.assert_close(dropped[kept], 2 * model.embedding(words)[kept])
    assert torch.equal(model.blocks[0](model.embed(words)), quiet)
