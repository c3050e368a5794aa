"""Conditions of the sentences about a calibration's promise."""

import pytest

from core.analysis import guarantees
from core.analysis.risk_control import Violations


@pytest.mark.parametrize(
    ("rate", "excess", "allowed", "told"),
    [(0.3, 0.0, 0.18, True), (0.1, 0.0, 0.18, False), (0.3, 0.005, None, False), (0.3, 0.02, None, True)],
)
def test_the_reader_is_told_where_other_parts_of_the_text_break_the_promise(
    rate: float, excess: float, allowed: float | None, told: bool
) -> None:
    seen = Violations(10, rate, 0.0, excess, (0.5, 0.5))
    assert bool(guarantees.other_text(seen, 0.01, allowed)) == told


def test_alike_neighbours_are_told_beyond_what_chance_would_do() -> None:
    assert not guarantees.alike(0.15, units=100)
    assert "correlation 0.15" in guarantees.alike(0.15, units=400)[0]


def test_a_mismatch_is_told_from_two_thousandths_of_a_nat_on() -> None:
    assert not guarantees.mismatch(0.0519, 0.05)
    assert "measured +34.99% PPL" in guarantees.mismatch(0.3, 0.05)[0]


def test_why_nothing_is_safe_says_how_many_units_it_takes() -> None:
    assert "at least 230 are needed" in guarantees.nothing_safe("crc", 0.01, 2.3, 0.1, units=50)
    assert "allow a larger increase" in guarantees.nothing_safe("crc", 0.01, 2.3, 0.1, units=500)
