"""Generation against a plain reference that computes everything anew, masked, at every step."""

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from core.config.run_config import Layer, RunConfig, build, method_names
from core.early_exit.generation import GeneratedToken, Reader, generate
from core.early_exit.masked import early_exit_states, go_on
from core.early_exit.sampling import GenerationOptions, choose
from core.errors import UsageError
from core.exits import exit_method, saved_by_leaving
from core.exits._contract import Observation
from core.head.loss import token_statistics
from core.model import Transformer, new_model
from core.rng import stream

WORDS = 30
PROMPT = [3, 7, 1]
GREEDY = GenerationOptions(max_tokens=8, temperature=0)


def run_config(**values: Any) -> RunConfig:
    tiny = {"dim": 8, "num_heads": 2, "ffn_dim": 12, "max_seq_len": 16, "seq_len": 6, "device": "cpu", "threads": 1}
    return build(
        [Layer("test", {**tiny, "dtype": "float64", "block_layers": (1, 2, 1), "exited_state": "copy", **values})]
    )


def random_model(config: RunConfig) -> Transformer:
    """With large weights, so that predictions are far apart."""
    model = new_model(config, WORDS)
    draw = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.uniform_(*((0.5, 1.5) if "norm" in name or "readout" in name else (-1, 1)), generator=draw)
    return model


@torch.no_grad()
def plain_step(
    model: Transformer, thresholds: list[float], config: RunConfig, words: list[int], window: int
) -> GeneratedToken:
    """The most probable next token, by the masked pass over the window."""
    recent, origin = torch.tensor([words[-window:]]), max(0, len(words) - window)
    method, signals = exit_method(config.method), list[float | None]()
    walk = early_exit_states(model, recent, config.exit.exited_state)
    arrival = go_on(walk)
    while arrival is not None:
        block, head = arrival.block, model.head_weight(arrival.block)
        here, last = arrival.tokens[0].nonzero().squeeze(1), bool(arrival.tokens[0, -1])
        leaves = torch.full(here.shape, block == len(model.blocks) - 1)
        if block < len(thresholds) and thresholds[block] <= 1:
            known = token_statistics(arrival.hidden, head, here * 0, method.extras)
            saved = saved_by_leaving(config, model.embedding.num_embeddings, block)
            tokens = here + origin
            seen = Observation(
                arrival.hidden, arrival.output, arrival.entered, tokens, block, config.seed, known, saved=saved
            )
            signal = method.signal(seen, model.classifier(block))
            leaves = signal >= thresholds[block]
            signals += [float(signal[-1])] if last else []
        elif block < len(thresholds) and last:
            signals.append(None)
        if last and leaves[-1]:
            chances = (head @ arrival.hidden[-1]).softmax(0)
            return GeneratedToken(int(chances.argmax()), block, tuple(signals), float(chances.max()))
        arrival = go_on(walk, leaves)
    raise AssertionError


def assert_as_plain(config: RunConfig, thresholds: list[float], prompt: list[int], window: int | None = None) -> None:
    model, words = random_model(config), list(prompt)
    options = GenerationOptions(max_tokens=8, temperature=0, window=window)
    for token in generate(model, thresholds, config, prompt, options):
        expected = plain_step(model, thresholds, config, words, window or config.data.seq_len)
        assert (token.token, token.block) == (expected.token, expected.block)
        assert (*token.signals, token.probability) == pytest.approx((*expected.signals, expected.probability))
        words.append(token.token)
    assert len(words) == len(prompt) + 8


@settings(max_examples=40, deadline=None)
@given(
    block_layers=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    seq_len=st.integers(1, 14),
    prompt=st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=9),
    thresholds=st.lists(st.sampled_from((0.0, 1.1)) | st.floats(0, 1), min_size=3, max_size=3),
    switches=st.fixed_dictionaries(
        {
            "norm": st.sampled_from(("pre", "post")),
            "exited_state": st.sampled_from(("copy", "drop", "input", "deferred")),
            "head": st.sampled_from(("shared", "per_block")),
            "seed": st.integers(0, 10**6),
        }
    ),
)
@example(
    block_layers=[1, 1, 1],
    seq_len=2,
    prompt=[0],
    thresholds=[0.5, 1.1, 0.0],
    switches={"norm": "pre", "exited_state": "input", "head": "shared", "seed": 2},
)
def test_each_token_is_what_computing_everything_anew_would_give(
    block_layers: list[int], seq_len: int, prompt: list[int], thresholds: list[float], switches: dict[str, Any]
) -> None:
    config = run_config(method="random", seq_len=seq_len, block_layers=block_layers, **switches)
    assert_as_plain(config, thresholds[: len(block_layers) - 1], prompt)


@pytest.mark.parametrize("exited_state", ["copy", "drop", "input", "deferred"])
@pytest.mark.parametrize("method", [name for name in method_names() if not exit_method(name).foresees])
def test_every_exit_method_decides_as_in_an_evaluation(method: str, exited_state: str) -> None:
    config = run_config(method=method, exited_state=exited_state, norm="pre")
    for threshold in (0.9, 0.5, 0.2):
        assert_as_plain(config, [threshold, threshold], PROMPT)


def test_a_longer_window_reads_on_at_later_positions() -> None:
    assert_as_plain(run_config(method="random", seq_len=4), [0.5, 0.5], PROMPT, window=16)


def test_a_step_costs_one_token_and_less_when_it_leaves_early() -> None:
    config = run_config(method="random", seq_len=16, block_layers=(1, 3))
    model = random_model(config)
    layer, keys_and_values = 2 * (4 * 64 + 3 * 8 * 12), 4 * 64
    for threshold, expected in ((1.1, 4 * layer), (0.0, layer + 3 * keys_and_values)):
        tokens = generate(model, [threshold], config, PROMPT, GREEDY)
        next(tokens)
        with FlopCounterMode(
            display=False
        ) as counter:  # knows of no attention on the CPU, and of no matrix times vector, so not of the head's
            next(tokens)
        assert counter.get_total_flops() == expected


def test_deferred_layers_cost_nothing_until_a_token_goes_deeper() -> None:
    config = run_config(method="random", seq_len=16, block_layers=(1, 3), exited_state="deferred")
    layer = 2 * (4 * 64 + 3 * 8 * 12)
    reader = Reader(random_model(config), [0.0], config, 16)
    for threshold, words, expected in ((0.0, PROMPT, 3 * layer), (0.0, [5], layer), (1.1, [2], layer + 3 * 5 * layer)):
        reader.thresholds, first = [threshold], reader.length
        with FlopCounterMode(display=False) as counter:
            reader.read(words, first)
        assert counter.get_total_flops() == expected


def test_a_seed_means_the_same_text_and_another_seed_another() -> None:
    config = run_config()
    model = random_model(config)
    first, again, other = (
        [token.token for token in generate(model, [], config, PROMPT, GenerationOptions(20, seed=seed))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_it_is_lazy() -> None:
    config = run_config()
    endless = generate(random_model(config), [], config, PROMPT, GenerationOptions(max_tokens=10**9))
    assert len(list(islice(endless, 5))) == 5


def test_the_probability_is_the_models_own_whatever_the_options() -> None:
    config = run_config()
    model = random_model(config)
    (greedy,) = generate(model, [], config, PROMPT, GenerationOptions(1, temperature=0))
    (hot,) = generate(model, [], config, PROMPT, GenerationOptions(1, temperature=50, top_k=1))
    assert greedy == hot


def drawn(logits: list[float], **options: Any) -> set[int]:
    draw = stream(0, "test")
    return {choose(torch.tensor(logits), GenerationOptions(**options), draw) for _ in range(200)}


def log(*chances: float) -> list[float]:
    return torch.tensor(chances).log().tolist()


def test_options_cut_what_is_drawn_from() -> None:
    logits = log(0.1, 0.4, 0.2, 0.3)
    assert drawn(logits) == {0, 1, 2, 3}
    assert drawn(logits, temperature=0) == {1}
    assert drawn(logits, temperature=0.02) == {1}
    assert drawn(logits, top_k=2) == {1, 3}
    assert drawn(logits, top_k=99) == {0, 1, 2, 3}
    assert drawn(logits, top_p=0.01) == {1}
    assert drawn(logits, top_p=0.6) == {1, 3}
    assert drawn(logits, top_p=0.8) == {1, 2, 3}
    assert drawn(logits, top_k=2, top_p=0.55) == {1}


def test_draws_follow_the_temperature() -> None:
    draw, logits = stream(0, "test"), torch.tensor(log(0.2, 0.8))
    options = GenerationOptions(temperature=2)
    share = sum(choose(logits, options, draw) for _ in range(3000)) / 3000
    assert share == pytest.approx(2 / 3, abs=0.03)  # √0.8 : √0.2 = 2 : 1


@pytest.mark.parametrize(
    ("prompt", "options", "values", "message"),
    [
        ([], {}, {}, "no token"),
        ([WORDS], {}, {}, "not among the model's 30"),
        ([-1], {}, {}, "not among the model's 30"),
        (PROMPT, {"window": 17}, {}, "at most model.max_seq_len = 16"),
        (PROMPT, {"window": -1}, {}, "at least 1"),
        (PROMPT, {"max_tokens": 0}, {}, "--max-tokens"),
        (PROMPT, {"temperature": -0.1}, {}, "--temperature"),
        (PROMPT, {"top_k": 0}, {}, "--top-k"),
        (PROMPT, {"top_p": 0.0}, {}, "--top-p"),
        (PROMPT, {}, {"causal": False}, "not causal"),
        (PROMPT, {}, {"method": "oracle"}, "no model can run it"),
    ],
)
def test_what_can_not_be_done_is_refused_before_the_first_token(
    prompt: list[int], options: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    config = run_config(**values)
    with pytest.raises(UsageError, match=message):
        generate(new_model(config, WORDS), [0.5, 0.5], config, prompt, GenerationOptions(**options))
