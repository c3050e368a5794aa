"""Exits that skip against the plain masked implementation, and what they cost."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import core.evaluation.passes
from core.config.run_config import Layer, RunConfig, build, method_names
from core.costs import ExitCosts, full_flops, head_flops, layer_flops, skipped_layer_flops
from core.data.windows import Windows
from core.early_exit.masked import early_exit_states, go_on
from core.early_exit.packed_attention import TokenPlaces, pack
from core.early_exit.skipping import skipping_states
from core.evaluation.passes import Pass, attended, early_exit, measured, static_depths
from core.evaluation.savings import exit_costs
from core.exits import exit_method
from core.model import ExitedState, Transformer, new_model

WORDS = 30
NEVER, ALWAYS = 1.1, 0.0


def run_config(**values: Any) -> RunConfig:
    tiny = {"dim": 8, "num_heads": 2, "ffn_dim": 12, "max_seq_len": 16, "seq_len": 6, "device": "cpu", "threads": 1}
    return build([Layer("test", {**tiny, "block_layers": (1, 2, 1), "exited_state": "copy", **values})])


def random_model(config: RunConfig) -> Transformer:
    """With norms that are not all ones, so that each counts."""
    model = new_model(config, WORDS)
    draw = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "readout" in name:
                weight.uniform_(0.5, 1.5, generator=draw)
    return model


def random_windows(config: RunConfig, count: int) -> Windows:
    words = torch.randint(WORDS, (count, config.data.seq_len + 1), generator=torch.Generator().manual_seed(config.seed))
    return Windows(words[:, :-1], words[:, 1:])


def passes(config: RunConfig, thresholds: list[float], windows: int) -> tuple[Pass, Pass]:
    """What the plain implementation makes of some windows, and what the skipping one does."""
    model, data = random_model(config), random_windows(config, windows)
    plain, skipping = Pass.empty(data.targets), Pass.empty(data.targets)
    batch = slice(0, windows)
    early_exit(model, thresholds, data, batch, plain, config, states=early_exit_states)
    early_exit(model, thresholds, data, batch, skipping, config, states=skipping_states)
    return plain, skipping


def assert_same(plain: Pass, skipping: Pass) -> None:
    assert torch.equal(plain.left_at, skipping.left_at)
    assert torch.equal(plain.correct, skipping.correct)
    torch.testing.assert_close(skipping.cross_entropy, plain.cross_entropy, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    block_layers=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    heads=st.integers(1, 3),
    pairs=st.integers(1, 3),
    windows=st.integers(1, 6),
    seq_len=st.integers(1, 9),
    thresholds=st.lists(st.sampled_from((ALWAYS, NEVER)) | st.floats(0, 1), min_size=3, max_size=3),
    switches=st.fixed_dictionaries(
        {
            "norm": st.sampled_from(("pre", "post")),
            "causal": st.booleans(),
            "exited_state": st.sampled_from(("copy", "drop", "input", "deferred")),
            "head": st.sampled_from(("shared", "per_block")),
            "dtype": st.sampled_from(("float32", "float64")),
            "seed": st.integers(0, 10**6),
        }
    ),
)
def test_losses_and_exits_are_those_of_the_plain_masked_implementation(
    block_layers: list[int],
    heads: int,
    pairs: int,
    windows: int,
    seq_len: int,
    thresholds: list[float],
    switches: dict[str, Any],
) -> None:
    dimensions = {"dim": 2 * heads * pairs, "num_heads": heads, "seq_len": seq_len, "block_layers": block_layers}
    config = run_config(method="random", **dimensions, **switches)
    assert_same(*passes(config, thresholds[: len(block_layers) - 1], windows))


@pytest.mark.parametrize("exited_state", ["copy", "drop"])
@pytest.mark.parametrize("method", [name for name in method_names() if not exit_method(name).foresees])
def test_every_exit_method_sees_the_same_tokens(method: str, exited_state: str) -> None:
    config = run_config(method=method, exited_state=exited_state, norm="pre")
    model, data = random_model(config), random_windows(config, 5)
    middling = Pass.empty(data.targets)
    thresholds = [0.5, 0.5]
    for threshold in (0.9, 0.7, 0.5, 0.3, 0.1, 0.05, 0.03):
        early_exit(model, [threshold] * 2, data, slice(0, 5), middling, config)
        if 0 < int((middling.left_at == 0).sum()) < middling.left_at.numel():
            thresholds = [threshold] * 2
    assert_same(*passes(config, thresholds, 5))


def leave(config: RunConfig, staying: Tensor, walk_of: Any = skipping_states) -> Tensor:
    """Logits of the tokens that stay in after block 0, all others leaving there."""
    model, words = random_model(config), random_windows(config, len(staying)).inputs
    walk = walk_of(model, words, config.exit.exited_state)
    with torch.no_grad():
        first = go_on(walk)
        assert first is not None
        later = go_on(walk, ~staying[first.tokens])
    if later is None:
        return torch.empty(0, WORDS)
    assert torch.equal(later.tokens, staying)
    return later.hidden @ model.head.weight.T


CASES = {
    "nobody stays": [[0, 0, 0], [0, 0, 0]],
    "all stay": [[1, 1, 1], [1, 1, 1]],
    "one stays": [[0, 0, 0], [0, 1, 0]],
    "windows without": [[0, 0, 0], [1, 0, 1], [0, 0, 0]],
    "different counts": [[1, 0, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]],
}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("exited_state", ["copy", "drop"])
@pytest.mark.parametrize("case", CASES)
def test_tokens_that_stay_are_computed_as_if_nothing_were_skipped(case: str, exited_state: str, causal: bool) -> None:
    staying = torch.tensor(CASES[case], dtype=torch.bool)
    config = run_config(seq_len=3, block_layers=(1, 2), exited_state=exited_state, causal=causal, norm="pre")
    plain = leave(config, staying, early_exit_states)
    torch.testing.assert_close(leave(config, staying), plain.reshape(-1, WORDS), rtol=0, atol=1e-5)


def test_windows_of_different_counts_share_calls_of_attention_without_much_padding() -> None:
    draw = torch.Generator().manual_seed(0)
    staying = torch.rand(64, 32, generator=draw) < torch.rand(64, 1, generator=draw)
    places = staying.flatten().nonzero().squeeze(1)
    packing = pack(TokenPlaces(64, 32, places, places[:0]), 4, causal=True, drop=True, states=torch.empty(0, 64))
    assert packing.queries is not None
    assert len(packing.groups) < 16
    assert len(packing.queries) < 1.2 * len(places)


def attention_flops(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Of fused attention on the CPU, which torch's counter does not know: both products, masked or not."""
    windows, heads, queries, width = query
    return 4 * windows * heads * queries * key[2] * width


def counted_flops(config: RunConfig, staying: Tensor, walk_of: Any = skipping_states) -> int:
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops},
    )
    with counter:
        leave(config, staying, walk_of)
    return counter.get_total_flops()


def spread(windows: int, tokens: int, kept: int) -> Tensor:
    """The last `kept` tokens of each window, so that everything else is attended to."""
    return (torch.arange(tokens) >= tokens - kept).expand(windows, -1)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_the_flops_of_copy_are_those_of_the_cost_model(kept: int) -> None:
    config = run_config(seq_len=8, block_layers=(1, 3))
    expected = 0.0
    for share, block in ((1.0, 0), (kept / 8, 1)):
        layer, skipped = layer_flops(config.model, 8), skipped_layer_flops(config.model)
        expected += 4 * 8 * config.model.block_layers[block] * (share * layer + (1 - share) * skipped)
    logits = 4 * kept * head_flops(config.model, WORDS)
    assert counted_flops(config, spread(4, 8, kept)) == expected + logits
    shares = (1 - kept / 8, kept / 8)
    model = 32 * ExitCosts(config.model, WORDS, 8, reads_head=False).flops(shares)
    head, classifiers = 32 * head_flops(config.model, WORDS), 32 * 2 * config.model.dim
    assert expected == pytest.approx(model - head - classifiers)


def test_a_token_that_leaves_is_paid_for_as_long_as_it_is_attended_to() -> None:
    config = run_config(seq_len=8, block_layers=(1, 3))
    early, late = spread(4, 8, 1).flip(1), spread(4, 8, 1)
    keys_and_values = 3 * 4 * 7 * skipped_layer_flops(config.model)
    assert counted_flops(config, late) - counted_flops(config, early) == keys_and_values


def test_dropped_tokens_cost_nothing_and_shorten_attention() -> None:
    config = run_config(seq_len=8, block_layers=(1, 3), exited_state="drop")
    whole, among_two = layer_flops(config.model, 8), layer_flops(config.model, 2)
    logits = 4 * 2 * head_flops(config.model, WORDS)
    assert counted_flops(config, spread(4, 8, 2)) == 4 * 8 * whole + 3 * 4 * 2 * among_two + logits


@pytest.mark.parametrize("causal", [True, False])
def test_deferred_tokens_predict_what_they_would_in_full_context(causal: bool) -> None:
    config = run_config(method="random", exited_state="deferred", seq_len=8, causal=causal)
    model, data, found = random_model(config), random_windows(config, 6), Pass.empty(torch.empty(6, 8))
    early_exit(model, [0.5, 0.5], data, slice(0, 6), found, config)
    whole = [seen.known.cross_entropy.view(6, 8) for seen in static_depths(model, data, slice(0, 6), 3, config)]
    expected = torch.stack(whole).gather(0, found.left_at[None])[0].double()
    assert len(found.left_at.unique()) == 3
    torch.testing.assert_close(found.cross_entropy, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("last", [0, 3, 7])
def test_deferred_tokens_cost_their_layers_up_to_the_last_that_goes_deeper(last: int) -> None:
    config = run_config(seq_len=8, block_layers=(1, 3), exited_state="deferred")
    staying = (torch.arange(8) == last).expand(4, -1)
    among = layer_flops(config.model, last + 1)  # attention is among these alone
    expected = 4 * (8 * layer_flops(config.model, 8) + 3 * (last + 1) * among)
    assert counted_flops(config, staying) == expected + 4 * head_flops(config.model, WORDS)
    left = Pass(torch.zeros(4, 8), torch.zeros(4, 8), staying.long())
    found = measured("evaluation", "early exit", left, config, cost=exit_costs(WORDS, config))
    saved = 3 * (7 - last) / 32
    assert found.layer_savings == pytest.approx(saved)
    assert found.window_savings == pytest.approx([saved] * 4)
    costs = exit_costs(WORDS, config)
    spent = costs.flops(found.exit_shares, attended(left, 2, config).mean(0).tolist())
    layers = 4 * (1 - saved) * layer_flops(config.model, 8)
    assert spent == pytest.approx(layers + head_flops(config.model, WORDS) + 2 * config.model.dim)
    assert found.window_flop_savings == pytest.approx([1 - spent / costs.full] * 4)


def test_without_exits_the_flops_are_those_of_the_whole_model() -> None:
    config = run_config(seq_len=8, block_layers=(1, 3))
    everyone = torch.ones(4, 8, dtype=torch.bool)
    assert counted_flops(config, everyone) == 32 * full_flops(config.model, WORDS, 8)


@pytest.mark.parametrize("exited_state", ["copy", "drop"])
def test_the_plain_implementation_skips_nothing(exited_state: ExitedState) -> None:
    config = run_config(seq_len=8, block_layers=(1, 3), exited_state=exited_state)
    assert counted_flops(config, spread(4, 8, 1)) < 0.6 * counted_flops(config, spread(4, 8, 1), early_exit_states)


@pytest.mark.parametrize(("method", "threshold"), [("random", 0.5), ("loss", 0.5), ("softmax", None), ("oracle", 0.5)])
def test_windows_shared_out_among_threads_leave_as_they_do_on_one(
    method: str, threshold: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(method=method)
    model, data = random_model(config), random_windows(config, 9)
    batch = slice(1, 8)
    foreseen = [seen.known for seen in static_depths(model, data, batch, 3, config)]
    alone, together = Pass.empty(data.targets), Pass.empty(data.targets)
    thresholds = [threshold or float(foreseen[0].max_prob.median())] * 2
    early_exit(model, thresholds, data, batch, alone, config, foreseen)
    monkeypatch.setattr(core.evaluation.passes, "READ_TOKENS", 12)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    early_exit(model, thresholds, data, batch, together, config, foreseen)
    assert torch.equal(alone.left_at, together.left_at)
    torch.testing.assert_close(alone.cross_entropy[batch], together.cross_entropy[batch], rtol=0, atol=1e-5)
    assert len(alone.left_at[batch].unique()) > 1
    assert alone.left_at[[0, -1]].eq(-1).all()
