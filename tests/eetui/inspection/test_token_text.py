"""The running text of Inspect: looks, lines against a plain wrap, places, and search."""

import random

import numpy as np
import pytest
from rich.cells import cell_len

from eetui.inspection.token_layout import Layout, Looks, SearchableText, look, quoted

PIECES = ["\n", " the", " mod", "ling", "\n\n   ", ".", "日本", "\t", "�", "́", "", " antidisestablishmentarianism"]


def layout(tokens: list[int], width: int, pieces: list[str] = PIECES, *, words: bool = False) -> Layout:
    return Layout(np.array(tokens, np.int32), Looks.of(pieces, words=words), width)


def some(count: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(len(PIECES)) for _ in range(count)]


def by_hand(tokens: list[int], looks: Looks, width: int) -> list[tuple[int, int]]:
    """Lines as (first token, one after the last), one token after the other."""
    lines, start, room = [], 0, width
    for place, token in enumerate(tokens):
        cells = cell_len(looks.looks[token].text)
        while cells > room and place > start:
            cut = next((at for at in range(place, start, -1) if looks.looks[tokens[at]].starts_word), place)
            lines.append((start, cut))
            start = cut
            room = width - sum(cell_len(looks.looks[each].text) for each in tokens[start:place])
        room -= cells
        if looks.looks[token].ends_line:
            lines.append((start, place + 1))
            start, room = place + 1, width - min(looks.looks[token].indent, width // 2)
    return [*lines, (start, len(tokens))] if start < len(tokens) else lines


@pytest.mark.parametrize("width", [4, 7, 20, 78])
def test_lines_are_those_of_a_plain_wrap(width: int) -> None:
    tokens = [token for token in some(600) if width > 7 or token != 11]
    made = layout(tokens, width)
    expected = by_hand(tokens, made.looks, width)
    assert [(made.line(n).start, made.line(n).stop) for n in range(len(expected))] == expected
    assert made.line(len(expected)) == range(0)
    assert (made.complete, made.height) == (True, len(expected))


def test_a_long_text_is_laid_out_only_as_far_as_it_is_looked_at() -> None:
    made = layout(some(100_000), 40)
    guess = made.height
    assert made.known < 1000
    assert made.line_of(99_999) == made.known - 1
    assert made.complete
    assert made.height == made.known == pytest.approx(guess, rel=0.2)


def test_every_token_is_on_its_line_and_in_its_column() -> None:
    made = layout(some(500), 30)
    for token in range(500):
        number = made.line_of(token)
        assert token in made.line(number)
        column = made.column(token)
        if made.looks.widths[made.tokens[token]] and column < 30:
            assert made.token_at(number, column) == token
    assert made.token_at(10_000, 0) is None
    assert made.token_at(0, 10_000) == made.line(0)[-1]


def test_blanks_after_a_line_break_indent_the_next_line() -> None:
    made = layout([1, 4, 3], 40)
    assert [made.indent(0), made.indent(1)] == [0, 3]
    assert made.looks.looks[4].text == "⏎⏎"


def test_what_cannot_be_seen_is_shown_by_a_sign() -> None:
    assert look("\n", words=False).text == "⏎"
    assert look("\t\x07", words=False).text == "⇥�"
    assert look("", words=False).text == "∅"
    assert look("́", words=False).text == "∅"
    assert look("word", words=True).text == " word"
    assert quoted(" the") == '" the"'
    assert quoted("a" * 50, 10) == '"aaaaaaa…"'
    assert cell_len(quoted("日" * 50, 10)) <= 10


def test_search_finds_text_across_tokens_and_goes_round() -> None:
    tokens = [1, 2, 3, 5, 1, 2, 3, 5]
    text = SearchableText(np.array(tokens), Looks.of(PIECES, words=False))
    assert text.find("MODLING", 0) == 1
    assert text.find("modling", 1) == 5
    assert text.find("modling", 5) == 1
    assert text.find_before("modling", 5) == 1
    assert text.find_before("modling", 1) == 5
    assert text.find("nowhere", 0) is None
    assert text.find_before("nowhere", 0) is None
    assert text.find(".*", 0) is None  # no pattern


def test_words_have_blanks_between_them() -> None:
    text = SearchableText(np.array([0, 1]), Looks.of(["one", "two"], words=True))
    assert text.find("one two", 1) == 0
