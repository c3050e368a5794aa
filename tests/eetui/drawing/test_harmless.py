"""Text made harmless: nothing in it is obeyed, what is harmless stays, and what is laid out keeps its width."""

import pytest
from rich.cells import cell_len

from eetui.drawing.harmless import LONGEST_NAME, harmless, lines, one_line, same_width, styled
from tests.hostile import ATTACKS, harmful


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_nothing_harmful_is_left(attack: str) -> None:
    for made in (harmless, one_line, lines):
        assert harmful(made(attack)) == []
        assert made(made(attack)) == made(attack)
    assert harmful(styled(attack), coloured=True) == []
    assert "\n" not in one_line(attack)


@pytest.mark.parametrize("text", ["", "plain", "naïve café", "日本語", "עברית", "🙂", "e\u0301", "a\nb\tc", "× – ★ ✓"])
def test_text_of_any_script_stays(text: str) -> None:
    assert harmless(text) == text
    assert styled(text) == text


def test_what_is_harmful_can_be_seen() -> None:
    assert harmless("\x1b]0;pwn\x07") == "�]0;pwn�"
    assert one_line("a\nb") == "a�b"


def test_long_texts_end_in_an_ellipsis() -> None:
    assert one_line("x" * 10**6) == "x" * (LONGEST_NAME - 1) + "…"
    assert one_line("x" * LONGEST_NAME) == "x" * LONGEST_NAME
    assert lines("x" * 10 + "\n" + "y" * 10, 5) == "xxxx…\nyyyy…"


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_what_is_laid_out_keeps_its_width(attack: str) -> None:
    assert cell_len(same_width(attack)) == cell_len(attack)


def test_colours_stay_and_nothing_else_of_an_escape_sequence() -> None:
    assert styled("\x1b[1;31mred\x1b[0m") == "\x1b[1;31mred\x1b[0m"
    assert styled("\x1b[2Jred\x1b[") == "�[2Jred�["


def test_a_family_of_emoji_stays_together() -> None:
    assert same_width("👨\u200d👩\u200d👧") == "👨\u200d👩\u200d👧"
