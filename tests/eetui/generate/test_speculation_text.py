"""Speculation in words and as JSON."""

import json
from pathlib import Path

import pytest

from core.analysis.speculative_text import Speed, sum_up, write_speculatively
from core.analysis.text_generator import TextGenerator, open_generator
from core.early_exit.draft_length import Drafting
from core.early_exit.generation import GeneratedToken
from core.early_exit.sampling import GenerationOptions
from core.early_exit.speculation import Pass, Tally
from core.store.reader import Reader
from eetui.generate.speculation_text import (
    Speculated,
    drafting_text,
    pass_text,
    speculation_json,
    speculation_legend,
)
from tests.eetui.generate.test_text import PIECES
from tests.eetui.plain_text import plain_text
from tests.trained_run import train_run

DRAFTING = Drafting(0, 2)
TURNS = [(2.0, 1.0), (2.2, 1.0), (1.8, 1.0), (2.0, 1.0), (2.1, 1.0), (1.9, 1.0)]


@pytest.fixture(scope="module")
def generator(text: Path, tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    path = tmp_path_factory.mktemp("generator") / "runs.db"
    run = train_run(path, text, seq_len=16)
    with Reader(path) as reader:
        return open_generator(reader, run)


def test_a_pass_shows_accepted_and_rejected_drafts_by_marks_not_by_colour() -> None:
    from core.analysis.speculative_text import WrittenPass

    one = WrittenPass(Pass((2, 9), 1, tuple(piece.token for piece in PIECES[:2])), tuple(PIECES[:2]), " nine")
    assert pass_text(one).plain == " one [-nine-] two"
    all_kept = WrittenPass(Pass((2,), 1, one.verified.tokens), one.pieces, "")
    assert pass_text(all_kept).plain == " one two"


def test_the_legend_counts_drafts_by_block_and_says_whether_it_paid() -> None:
    found = Speculated(DRAFTING, Tally(4, 10, 8, 6, 1.5), (0.75,), 3, Speed.of(TURNS, 10))
    lines = plain_text(speculation_legend(found, 3), 300).splitlines()
    assert lines[0] == "block 0 6 accepted, 2 rejected of 8 drafts (75.00%)   block 3 4 itself"
    assert lines[1] == "2.50 tokens a pass, 1.50 times the FLOPs of plain decoding"
    assert lines[2] == "acceptance of a draft on this text, by exit: 0 75.00%"
    assert lines[3].startswith("3 of 10 tokens were written with a full window")
    assert lines[4] == (
        "10.0 tokens/s against 5.0 plain, in turns: 2.00 times that (95% interval 1.80 to 2.20, 6 rounds). "
        "Speculation pays."
    )


@pytest.mark.parametrize(
    ("turns", "verdict"),
    [
        ([(1.0, 2.0)] * 6, "does not pay"),
        ([(1.0, 2.0), (2.0, 1.0)] * 3, "makes no clear difference"),
        ([(2.0, 1.0)] * 5, "makes no clear difference"),
    ],
)
def test_a_speed_is_judged_by_its_interval(turns: list[tuple[float, float]], verdict: str) -> None:
    assert Speed.of(turns, 10).verdict == verdict


@pytest.mark.parametrize(
    ("drafting", "words"),
    [(Drafting(1, 3), "exit 1, 3 at a time"), (Drafting(0, until=0.5), "below 0.5"), (Drafting(0), "tokens a second")],
)
def test_drafting_is_said_in_words(drafting: Drafting, words: str) -> None:
    assert words in drafting_text(drafting)


def test_json_holds_every_pass(generator: TextGenerator) -> None:
    options = GenerationOptions(max_tokens=6, temperature=0)
    passes = list(write_speculatively(generator, "w1 w2", DRAFTING, options))
    found = Speculated(DRAFTING, sum_up(generator, [one.verified for one in passes], DRAFTING))
    data = json.loads(speculation_json(generator, "w1 w2", passes, found))
    assert data["text"] == "".join(piece.text for piece in generator_text(generator, options))
    assert [token["token"] for one in data["passes"] for token in one["tokens"]] == [
        token for one in passes for token in written(one.verified.tokens)
    ]
    figures = data["speculation"]
    assert (
        figures["accepted"] + figures["rejected"]
        == figures["drafted"]
        == sum(len(one["drafted"]) for one in data["passes"])
    )
    assert figures["speed"] is None


def written(tokens: tuple[GeneratedToken, ...]) -> list[int]:
    return [token.token for token in tokens]


def generator_text(generator: TextGenerator, options: GenerationOptions) -> list:
    from dataclasses import replace

    return list(replace(generator, thresholds=()).write("w1 w2", options))
