"""Histograms of a signal with their threshold."""

import math

import pytest

from core.events import Threshold
from eetui.drawing.histogram import histogram
from eetui.drawing.palette import Palette

STYLE = Palette()


def threshold(at: float = 0.13) -> Threshold:
    counts = tuple(round(3000 * math.exp(-(((place - 6) / 5) ** 2))) for place in range(50))
    return Threshold("block0.hard", 0, at, sum(counts), sum(counts[: int(at * 50)]), counts)


@pytest.mark.parametrize(("width", "height"), [(78, 11), (140, 40), (24, 4), (40, 6)])
def test_the_histogram_fills_its_width_and_height(width: int, height: int) -> None:
    lines = histogram(threshold(), width, height, STYLE).plain.splitlines()
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)


def test_hard_tokens_are_hatched_and_the_threshold_is_a_line() -> None:
    lines = histogram(threshold(), 78, 11, STYLE).plain.splitlines()
    at = lines[1].index("│")
    assert all(line[at] == "│" for line in lines[:10])
    assert set("".join(line[:at] for line in lines[1:10])) <= set("░. ")
    assert "░" not in "".join(line[at + 1 :] for line in lines[1:10])
    assert "hard" in lines[0]
    assert "threshold 0.1300" in lines[0]
    assert lines[-1].startswith("0.00")


@pytest.mark.parametrize("at", [0.0, 0.02, 0.5, 1.0])
def test_a_threshold_anywhere_is_drawn(at: float) -> None:
    lines = histogram(threshold(at), 60, 8, STYLE).plain.splitlines()
    assert all("│" in line for line in lines[:7])
    assert all(len(line) <= 60 for line in lines)


def test_a_histogram_too_small_to_draw_is_a_sentence() -> None:
    assert histogram(threshold(), 78, 3, STYLE).plain.startswith("threshold 0.1300, hard ")


def test_a_histogram_of_no_tokens_is_empty_not_an_error() -> None:
    empty = Threshold("s", 0, 0.5, 0, 0, (0,) * 50)
    assert "hard 0.0%" in histogram(empty, 60, 8, STYLE).plain


def test_an_exit_that_is_off_has_no_line_and_lets_no_token_out() -> None:
    lines = histogram(threshold(2.0), 60, 8, STYLE).plain.splitlines()
    assert lines[0] == f"░ the exit is off: all {threshold().tokens:,} tokens go on"
    assert set("".join(lines[1:-1])) <= set("░. ")
    assert histogram(threshold(2.0), 78, 3, STYLE).plain.startswith("threshold off, hard ")
    assert all(len(line) <= 24 for line in histogram(threshold(2.0), 24, 4, STYLE).plain.splitlines())
