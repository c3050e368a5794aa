"""The formulas of `core.costs` against torch's own count of the real model, and against those of the design."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core import costs
from core.config.run_config import ModelConfig, RunConfig
from core.early_exit.masked import go_on
from core.early_exit.skipping import skipping_states
from core.evaluation.passes import Pass, attended
from core.model import Transformer, new_model
from tests.core.training import WORDS as TINY_WORDS
from tests.core.training import MakeConfig

MODEL = ModelConfig(dim=16, num_heads=2, ffn_dim=24, block_layers=(2, 3), max_seq_len=32)
WORDS, WINDOWS, WIDTH = 50, 4, 8
TOKENS = WINDOWS * WIDTH
REPORT, REPORT_WORDS = ModelConfig(), 69_830


@pytest.fixture
def model() -> Transformer:
    return Transformer(MODEL, WORDS, seed=1)


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(WINDOWS, WIDTH, MODEL.dim)


@pytest.fixture(autouse=True)
def plain_attention() -> Iterator[None]:
    """Torch does not count its fused attention on the CPU."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def counted() -> FlopCounterMode:
    return FlopCounterMode(display=False)


@pytest.mark.parametrize(("block", "layers"), [(0, 2), (1, 3)])
def test_a_layer_costs_what_torch_counts(model: Transformer, states: torch.Tensor, block: int, layers: int) -> None:
    with counted() as flops, torch.no_grad():
        model.blocks[block](states)
    assert flops.get_total_flops() == TOKENS * layers * costs.layer_flops(MODEL, WIDTH)


def test_head_and_classifier_cost_what_torch_counts(model: Transformer, states: torch.Tensor) -> None:
    with counted() as head, torch.no_grad():
        model.head(states)
    with counted() as classifier, torch.no_grad():
        model.classifier(0)(states)
    assert head.get_total_flops() == TOKENS * costs.head_flops(MODEL, WORDS)
    assert classifier.get_total_flops() == TOKENS * costs.classifier_flops(MODEL)


def test_keys_and_values_of_a_skipped_layer_cost_what_torch_counts(model: Transformer, states: torch.Tensor) -> None:
    attention = model.blocks[0].layers[0].attention
    with counted() as flops, torch.no_grad():
        attention.key(states)
        attention.value(states)
    assert flops.get_total_flops() == TOKENS * costs.skipped_layer_flops(MODEL)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("input_learns", [True, False])
@pytest.mark.parametrize("head_learns", [True, False])
def test_a_training_step_costs_what_torch_counts(
    norm: Literal["post", "pre"], states: torch.Tensor, *, input_learns: bool, head_learns: bool
) -> None:
    config = MODEL.model_copy(update={"norm": norm})
    model = Transformer(config, WORDS, seed=1)
    states.requires_grad_(input_learns)
    model.head.weight.requires_grad_(head_learns)
    with counted() as flops:
        hidden = model.readout(1, model.blocks[1](model.blocks[0](states)))
        F.cross_entropy(model.head(hidden).flatten(0, 1), torch.zeros(TOKENS, dtype=torch.int64)).backward()
    step = costs.step_flops(
        config, (0, 1), 1, WORDS, WIDTH, input_learns=input_learns, head_learns=head_learns, fits_classifier=False
    )
    assert flops.get_total_flops() == step.total(TOKENS, TOKENS)


def test_tokens_that_have_left_cost_layers_and_no_head() -> None:
    step = costs.step_flops(MODEL, [1], 1, WORDS, WIDTH, input_learns=True, head_learns=False, fits_classifier=False)
    layers, head = 3 * costs.layer_flops(MODEL, WIDTH), costs.head_flops(MODEL, WORDS)
    assert step.total(100, 30) == 100 * 3 * layers + 30 * 2 * head
    assert costs.reading_flops(MODEL, [1], WORDS, WIDTH, 0.3) * 30 == pytest.approx(100 * layers + 30 * head)


def test_all_weights_are_counted(model: Transformer) -> None:
    assert costs.parameters(MODEL, WORDS) == sum(weight.numel() for weight in model.parameters())


def test_the_reports_head_is_94_percent_of_its_model() -> None:
    share = costs.head_flops(REPORT, REPORT_WORDS) / costs.full_flops(REPORT, REPORT_WORDS, 32)
    assert round(share, 2) == 0.94


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_early_exit_costs_what_the_design_says(share: float) -> None:
    layer, skipped = costs.layer_flops(REPORT, 32), costs.skipped_layer_flops(REPORT)
    head, classifier = costs.head_flops(REPORT, REPORT_WORDS), costs.classifier_flops(REPORT)
    layers = 4 * layer - share * 2 * (layer - (skipped if share < 1 else 0))
    shares = (share, 1 - share)
    learned = costs.ExitCosts(REPORT, REPORT_WORDS, 32, reads_head=False).flops(shares)
    softmax = costs.ExitCosts(REPORT, REPORT_WORDS, 32, reads_head=True).flops(shares)
    assert learned == pytest.approx(layers + head + classifier)
    assert softmax == pytest.approx(layers + (2 - share) * head)


def test_softmax_exits_of_the_report_cost_more_than_never_exiting() -> None:
    full = costs.full_flops(REPORT, REPORT_WORDS, 32)
    softmax = costs.ExitCosts(REPORT, REPORT_WORDS, 32, reads_head=True).flops((0.73, 0.27))
    assert softmax / full == pytest.approx(1.24, abs=0.01)


def test_with_three_blocks_every_exit_is_paid_for_by_those_who_reach_it() -> None:
    model = ModelConfig(dim=16, num_heads=2, ffn_dim=24, block_layers=(1, 1, 1))
    layer, skipped = costs.layer_flops(model, 8), costs.skipped_layer_flops(model)
    head, classifier = costs.head_flops(model, 50), costs.classifier_flops(model)
    cost = costs.ExitCosts(model, 50, 8, reads_head=False).flops((0.5, 0.25, 0.25))
    expected = layer * (1 + 0.5 + 0.25) + skipped * (0.5 + 0.75) + head + classifier * (1 + 0.5)
    assert cost == pytest.approx(expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("exited_state", ["copy", "drop"])
def test_early_exit_costs_what_torch_counts_where_it_really_skips(
    exited_state: Literal["copy", "drop"], *, causal: bool
) -> None:
    settings = MODEL.model_copy(update={"block_layers": (1, 2, 1), "causal": causal})
    model, draw = Transformer(settings, WORDS, seed=1), torch.Generator().manual_seed(1)
    left_at = torch.randint(0, 3, (WINDOWS, WIDTH), generator=draw)
    left_at[0], left_at[1, 3:] = 0, 1  # nobody needs anything of the first window, nor all of the second
    walk = skipping_states(model, torch.randint(0, WORDS, (WINDOWS, WIDTH), generator=draw), exited_state)
    with counted() as flops:
        arrival = go_on(walk)
        while arrival is not None:
            arrival = go_on(walk, left_at[arrival.tokens] == arrival.block)
    products = sum(count for name, count in flops.get_flop_counts()["Global"].items() if "mm" in str(name))
    products -= sum(count for name, count in flops.get_flop_counts()["Global"].items() if "bmm" in str(name))
    shares = [float((left_at == block).double().mean()) for block in range(3)]
    config = RunConfig(model=settings)
    seen = attended(Pass(left_at, left_at, left_at), 3, config).mean(0).tolist()
    cost = costs.ExitCosts(settings, WORDS, WIDTH, reads_head=False, exited_state=exited_state, off=frozenset({0, 1}))
    attention = (
        4
        * settings.dim
        * WIDTH
        * sum(layers * arriving for layers, arriving in zip((1, 2, 1), (1, 1 - shares[0], shares[2]), strict=True))
    )
    expected = cost.flops(shares, seen) - attention - costs.head_flops(settings, WORDS)
    assert products == pytest.approx(TOKENS * expected)
    if exited_state == "copy":
        assert cost.flops(shares, seen) < cost.flops(shares)


def test_exits_that_all_take_cost_no_keys_and_values_of_the_blocks_after_them() -> None:
    model = ModelConfig(dim=16, num_heads=2, ffn_dim=24, block_layers=(1, 2, 1))
    cost = costs.ExitCosts(model, 50, 8, reads_head=True)
    assert cost.flops((0.0, 1.0, 0.0)) == costs.depth_flops(model, 1, 50, 8) + costs.head_flops(model, 50)
    assert cost.flops((0.5, 0.5, 0.0)) == pytest.approx(
        costs.layer_flops(model, 8) * 2 + costs.skipped_layer_flops(model) * 2 * 0.5 + costs.head_flops(model, 50) * 1.5
    )
    paid = costs.PricedCosts((0.3, 0.6, 1.0), (0.0, 0.0), (0.1, 0.1, 0.1))
    assert paid.mean((0.5, 0.5, 0.0), (True, True)) == pytest.approx(0.45 - 0.1)
    assert paid.mean((1.0, 0.0, 0.0), (True, True)) == pytest.approx(0.3 - 0.2)
    assert paid.mean((0.5, 0.4, 0.1), (True, True)) == pytest.approx(0.15 + 0.24 + 0.1)


@pytest.mark.parametrize(
    ("exited_state", "layer_cost"), [("copy", 4 * 64**2), ("drop", 0), ("input", None), ("deferred", None)]
)
def test_a_skipped_layer_costs_what_the_exited_state_leaves_to_do(exited_state: str, layer_cost: int | None) -> None:
    layer = costs.layer_flops(REPORT, 32)
    skipped = layer if layer_cost is None else layer_cost
    cost = costs.ExitCosts(REPORT, 10, 32, reads_head=False, exited_state=exited_state).flops((0.5, 0.5))
    expected = 3 * layer + 1 * skipped + costs.head_flops(REPORT, 10) + costs.classifier_flops(REPORT)
    assert cost == pytest.approx(expected)


@pytest.mark.parametrize("reads_head", [True, False])
def test_at_the_break_even_rate_early_exit_costs_as_much_as_never_exiting(reads_head: bool) -> None:
    rate = costs.ExitCosts(REPORT, 4096, 32, reads_head=reads_head).break_even_rate((0.2, 0.8))
    assert rate is not None
    assert 0 < rate < 1
    at_rate = costs.ExitCosts(REPORT, 4096, 32, reads_head=reads_head).flops((rate, 1 - rate))
    assert at_rate == pytest.approx(costs.full_flops(REPORT, 4096, 32))


def test_the_break_even_rate_of_softmax_follows_from_head_and_layers() -> None:
    head, layer, skipped = costs.head_flops(REPORT, 4096), costs.layer_flops(REPORT, 32), 4 * 64**2
    rate = costs.ExitCosts(REPORT, 4096, 32, reads_head=True).break_even_rate((0.5, 0.5))
    assert rate == pytest.approx(head / (2 * (layer - skipped) + head))


def test_where_nobody_leaves_the_break_even_rate_is_that_of_the_first_exit() -> None:
    some = costs.ExitCosts(REPORT, 4096, 32, reads_head=True).break_even_rate((0.5, 0.5))
    assert costs.ExitCosts(REPORT, 4096, 32, reads_head=True).break_even_rate((0.0, 1.0)) == some


@pytest.mark.parametrize("exited_state", ["input", "deferred"])
def test_where_leaving_alone_skips_nothing_no_exit_rate_pays_for_a_classifier(exited_state: str) -> None:
    cost = costs.ExitCosts(REPORT, 4096, 32, reads_head=False, exited_state=exited_state)
    assert cost.break_even_rate((0.5, 0.5)) is None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "pre", "block_layers": (1, 2, 1)},
        {"tie_embedding": True, "train_embedding": True},
        {"tie_embedding": True, "train_embedding": True, "head": "per_block", "block_layers": (1, 1, 1)},
        {"head": "per_block"},
    ],
    ids=str,
)
def test_all_weights_are_counted_whatever_the_switches(values: dict[str, Any], tiny_config: MakeConfig) -> None:
    config = tiny_config(**values)
    heads = len(config.model.block_layers) if config.train.head == "per_block" else 1
    model = new_model(config, TINY_WORDS)
    assert costs.parameters(config.model, TINY_WORDS, heads) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("block", [0, 1, 2])
def test_leaving_at_once_saves_the_layers_and_the_signals_on_the_way(block: int) -> None:
    paid = costs.PricedCosts(leaving=(0.2, 0.45, 0.7, 1.0), arriving=(0.01, 0.02, 0.04))
    at_each = [paid.mean([float(there == depth) for there in range(4)], (True, True, True)) for depth in range(4)]
    assert paid.saved(block) == pytest.approx([later - at_each[block] for later in at_each[block + 1 :]])
