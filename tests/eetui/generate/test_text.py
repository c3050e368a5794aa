"""Generated text on a terminal and as JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.analysis.text_generator import Piece, TextGenerator, open_generator, origins
from core.early_exit.generation import GeneratedToken
from core.pricing.thresholds import NEVER
from core.store.reader import Reader
from eetui.generate.text import block_look, generation_json, legend, piece_text
from tests.eetui.plain_text import plain_text
from tests.trained_run import train_run

PIECES = [
    Piece(" one", GeneratedToken(2, 0, (0.9,), 0.25)),
    Piece(" two", GeneratedToken(3, 1, (0.1,), 0.5)),
    Piece(" four", GeneratedToken(4, 1, (0.1,), 0.5)),
    Piece(" five", GeneratedToken(5, 1, (0.1,), 0.5)),
]

CLOSED = GeneratedToken(3, 1, (None,), 0.5)


@pytest.fixture(scope="module")
def generator(text: Path, tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    path = tmp_path_factory.mktemp("generator") / "runs.db"
    run = train_run(path, text, exited_state="copy")
    with Reader(path) as reader:
        return open_generator(reader, run)


def test_each_block_has_a_style_that_is_distinct_without_colour() -> None:
    marks = {(style.underline, style.italic, style.bold) for style in map(block_look, range(6))}
    assert len(marks) == 6
    for piece in PIECES[:2]:
        text = piece_text(piece)
        spans = [(text.plain[span.start : span.end], span.style) for span in text.spans]
        assert (text.plain, spans) == (piece.text, [(piece.text.strip(), block_look(piece.token.block))])


def test_the_legend_gives_each_blocks_share_and_the_savings(generator: TextGenerator) -> None:
    found = origins(generator, [piece.token for piece in PIECES])
    first, second = plain_text(legend(generator, found, 2.0, 4), 200).splitlines()
    assert first.strip() == "block 0 25.00%   block 1 75.00%"
    assert second.startswith("layers saved 12.50%, FLOPs ")
    assert second.endswith("   2 tokens/s")


def test_an_exit_that_is_off_is_called_so(generator: TextGenerator) -> None:
    closed, pieces = replace(generator, thresholds=(NEVER,)), [replace(PIECES[1], token=CLOSED)]
    assert plain_text(legend(closed, origins(closed, [CLOSED]), 0.0, 1), 200).startswith(
        "block 0 off   block 1 100.00%"
    )
    assert json.loads(generation_json(closed, "Say", pieces, origins(closed, [CLOSED])))["tokens"][0]["signals"] == [
        None
    ]


def test_json_holds_every_token(generator: TextGenerator) -> None:
    found = json.loads(generation_json(generator, "Say", PIECES, origins(generator, [piece.token for piece in PIECES])))
    assert found["text"] == " one two four five"
    assert found["tokens"][0] == {"token": 2, "text": " one", "block": 0, "signals": [0.9], "probability": 0.25}
    assert found["exit_shares"] == [0.25, 0.75]
    assert len(found["thresholds"]) == 1
