"""Speculation against plain decoding: the same text, the same distribution, and nothing computed twice."""

from collections import defaultdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.costs import full_flops
from core.early_exit.draft_length import LONGEST, Drafting, PricedLength, expected_tokens
from core.early_exit.generation import generate
from core.early_exit.sampling import GenerationOptions, distribution
from core.early_exit.speculation import Dice, Pass, _Speculator, residual, speculate, tally
from core.errors import UsageError
from core.model import new_model
from tests.core.early_exit.test_generation import PROMPT, WORDS, random_model, run_config


def written(passes: list[Pass]) -> list[int]:
    return [token.token for one in passes for token in one.tokens]


@settings(max_examples=12, deadline=None)
@given(
    block_layers=st.lists(st.integers(1, 2), min_size=2, max_size=4),
    seq_len=st.integers(1, 14),
    prompt=st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=16),
    draft=st.integers(0, 8).map(lambda length: {"length": length})
    | st.floats(0, 1).map(lambda until: {"until": until})
    | st.just({}),
    block=st.integers(0, 2),
    switches=st.fixed_dictionaries(
        {
            "norm": st.sampled_from(("pre", "post")),
            "head": st.sampled_from(("shared", "per_block")),
            "seed": st.integers(0, 10**6),
        }
    ),
)
def test_the_most_probable_text_is_the_whole_models(
    block_layers: list[int],
    seq_len: int,
    prompt: list[int],
    draft: dict[str, Any],
    block: int,
    switches: dict[str, Any],
) -> None:
    config = run_config(method="softmax", seq_len=seq_len, block_layers=block_layers, dtype="float32", **switches)
    model, options = random_model(config), GenerationOptions(max_tokens=12, temperature=0)
    passes = list(speculate(model, config, prompt, Drafting(min(block, len(block_layers) - 2), **draft), options))
    plain = list(generate(model, (), config, prompt, options))
    assert written(passes) == [token.token for token in plain]
    found = [token.probability for one in passes for token in one.tokens]
    assert found == pytest.approx([token.probability for token in plain], rel=1e-3)
    for one in passes:
        assert len(one.tokens) == one.accepted + 1
        assert [token.token for token in one.tokens[:-1]] == list(one.drafted[: one.accepted])


class Fork(Dice):
    """Takes given choices, then the first possible ones, and notes what else was possible."""

    def __init__(self, path: list[int]) -> None:
        self.path, self.taken, self.chance = path, list[int](), 1.0
        self.others = list[list[int]]()

    def pick(self, chances: Tensor) -> int:
        possible = [index for index, chance in enumerate(chances.tolist()) if chance > 0]
        at = len(self.taken)
        choice = self.path[at] if at < len(self.path) else possible[0]
        if at >= len(self.path):
            self.others += [[*self.taken, other] for other in possible[1:]]
        self.taken.append(choice)
        self.chance *= float(chances[choice])
        return choice

    def happens(self, chance: float) -> bool:
        chance = min(1.0, chance)
        return bool(self.pick(torch.tensor([1 - chance, chance], dtype=torch.float64)))


@pytest.mark.parametrize("draft", [{"length": 1}, {"length": 3}, {"until": 0.5}])
@pytest.mark.parametrize("cut", [{}, {"temperature": 0.6, "top_k": 2}, {"temperature": 1.5, "top_p": 0.8}])
def test_drawn_texts_have_the_probabilities_that_the_whole_model_gives_them(
    draft: dict[str, Any], cut: dict[str, Any]
) -> None:
    config = run_config(method="softmax", block_layers=(1, 1), seq_len=5)
    torch.manual_seed(0)
    model = new_model(config, 3)
    for weight in model.parameters():
        weight.data.uniform_(-0.7, 0.7)
    options, found, waiting = GenerationOptions(max_tokens=3, **cut), defaultdict[tuple[int, ...], float](float), [[]]
    while waiting:
        dice = Fork(waiting.pop())
        text = written(list(speculate(model, config, [1, 2], Drafting(0, **draft), options, dice)))
        found[tuple(text)] += dice.chance
        waiting += dice.others
    assert sum(found.values()) == pytest.approx(1)
    for text, chance in found.items():
        assert chance == pytest.approx(plain_chance(model, [1, 2], text, options)), text


@torch.no_grad()
def plain_chance(model: Any, prompt: list[int], text: tuple[int, ...], options: GenerationOptions) -> float:
    chance = 1.0
    for at, token in enumerate(text):
        states = model.embed(torch.tensor([[*prompt, *text[:at]]]))
        for block in model.blocks:
            states = block(states)
        last = len(model.blocks) - 1
        logits = model.head_weight(last) @ model.readout(last, states)[0, -1]
        chance *= float(distribution(logits, options)[token])
    return chance


def test_the_residual_is_what_the_draft_gives_too_little() -> None:
    whole, draft = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    assert residual(whole, draft).tolist() == pytest.approx([0.75, 0.25, 0])
    assert residual(whole, whole).tolist() == whole.tolist()


def test_each_token_passes_each_block_once() -> None:
    config = run_config(seq_len=16, block_layers=(1, 1, 1))
    model = random_model(config)
    options = GenerationOptions(max_tokens=12, temperature=0)
    read = [0, 0, 0]

    class Counting(_Speculator):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            for index, block in enumerate(self.blocks):
                block.read = self._counted(index, block.read)  # type: ignore[method-assign]

        def _counted(self, index: int, call: Any) -> Any:
            def counted(states: Tensor, *rest: Any) -> Tensor:
                read[index] += len(states)
                return call(states, *rest)

            return counted

    drafting = Drafting(1, 3)
    passes = list(Counting(model, config, drafting, options, Dice(0), 16).passes(list(PROMPT)))
    tokens = len(PROMPT) - 1 + sum(len(one.drafted) + 1 for one in passes)
    assert read == [tokens] * 3
    found = tally(passes, drafting, config, WORDS)
    assert (found.tokens, found.passes) == (12, len(passes))
    layers, head = 3 * (2 * (4 * 64 + 3 * 8 * 12) + 4 * 8 * 16), 2 * 8 * WORDS
    total = (found.passes + found.drafted) * (layers + head) + found.drafted * head
    assert found.flops == pytest.approx(total / 12 / (layers + head))


def test_drafts_go_on_while_the_exit_is_sure() -> None:
    config = run_config(method="softmax", seq_len=16)
    model, options = random_model(config), GenerationOptions(max_tokens=12, temperature=0)
    never, always = (list(speculate(model, config, [3], Drafting(0, until=until), options)) for until in (1.1, 0.0))
    assert [one.drafted for one in never] == [()] * 12
    assert len(always[0].drafted) == 11
    found = tally(never, Drafting(0, until=1.1), config, WORDS)
    full, head = full_flops(config.model, WORDS, 16), 2 * 8 * WORDS
    assert found.flops == pytest.approx(1 + 11 / 12 * head / full)  # the head was read in vain, but for the last token


def test_a_length_is_priced_by_acceptance_and_seconds() -> None:
    assert expected_tokens(0.5, 0) == 1
    assert expected_tokens(0.5, 2) == pytest.approx(1.75)
    for accepts, draft, expected in ((True, 0.1, LONGEST), (False, 0.1, 0), (True, 2.0, 0)):
        priced = PricedLength()
        for _ in range(30):
            length = priced.next()
            priced.saw(length, length if accepts else 0, draft * length, 1.0)
        assert priced.next() == expected


@pytest.mark.parametrize(
    ("drafting", "values", "message"),
    [
        (Drafting(2), {}, "--exit must be a block from 0 to 1"),
        (Drafting(-1), {}, "--exit must be"),
        (Drafting(0, 2, 0.5), {}, "exclude each other"),
        (Drafting(0, -1), {}, "--draft must be at least 0"),
        (Drafting(0), {"block_layers": (2,)}, "one block only"),
        (Drafting(0, until=0.5), {"method": "oracle"}, "needs an exit signal"),
        (Drafting(0, until=float("nan")), {}, "must be a number, got nan"),
        (Drafting(0, until=0.5), {"protocol": "full_depth"}, "needs an exit signal"),
        (Drafting(0), {"causal": False}, "not causal"),
    ],
)
def test_what_can_not_be_done_is_refused_before_the_first_pass(
    drafting: Drafting, values: dict[str, Any], message: str
) -> None:
    config = run_config(**values)
    with pytest.raises(UsageError, match=message):
        speculate(new_model(config, WORDS), config, PROMPT, drafting)
