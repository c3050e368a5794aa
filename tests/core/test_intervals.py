import math
import random

import pytest

from core import intervals
from core.intervals import (
    LEAST_P,
    Interval,
    of_median,
    of_two,
    over_seeds,
    over_seeds_and_windows,
    over_windows,
    paired,
    student_t,
    unpaired,
    unpaired_seeds,
    window_blocks,
)

TRIALS = 400
FEWEST_HITS = 369
"""Fewest hits in 400 trials at 95%; chance gives fewer in less than 1 case of 100."""


def windows(draw: random.Random, count: int, carried: float = 0.0) -> list[float]:
    """Draw correlated losses of windows: each keeps a part of the one before it."""
    values, last = [], draw.gauss(0, 1)
    for _ in range(count):
        last = carried * last + math.sqrt(1 - carried**2) * draw.gauss(0, 1)
        values.append(last)
    return values


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (11, 2.2010), (100, 1.9840)]
)
def test_quantiles_of_students_t_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=5e-5)


@pytest.mark.parametrize("level", [0.05, 0.95, 1 - LEAST_P])
def test_a_quantile_of_many_degrees_of_freedom_is_that_of_the_closed_form(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees = intervals.EXPANDED_DEGREES + 1
    expanded = student_t.__wrapped__(degrees, level)
    monkeypatch.setattr(intervals, "EXPANDED_DEGREES", degrees)
    assert expanded == pytest.approx(student_t.__wrapped__(degrees, level), rel=1e-8)


def test_a_wider_level_has_a_larger_quantile_and_no_degree_of_freedom_is_refused() -> None:
    assert student_t(5, 0.99) > student_t(5, 0.95) > student_t(5, 0.9)
    with pytest.raises(ValueError, match="degrees of freedom"):
        student_t(0)


@pytest.mark.parametrize("count", [24, 32, 64, 128, 400])
@pytest.mark.parametrize("carried", [0.0, 0.3])
def test_an_interval_over_windows_covers_what_it_says(count: int, carried: float) -> None:
    draw, hits = random.Random(count), 0
    for _ in range(TRIALS):
        interval = over_windows(windows(draw, count, carried))
        assert interval is not None
        hits += interval.low <= 0 <= interval.high
    assert hits >= FEWEST_HITS - (12 if carried and count < 64 else 0)  # blocks of four are still a little correlated


@pytest.mark.parametrize("count", [0, 1, 6, 23])
def test_too_few_windows_have_no_interval(count: int) -> None:
    assert window_blocks([0.5] * count) == []
    assert over_windows([0.5] * count) is None
    assert over_seeds_and_windows([[0.5] * count] * 3) is None


def test_all_windows_count_alike() -> None:
    values = [float(value) for value in range(70)]
    blocks = window_blocks(values)
    assert len(blocks) == 8
    interval = over_windows(values)
    assert interval is not None
    assert interval.mean == pytest.approx(34.5)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.3])
def test_an_interval_over_seeds_and_windows_covers_both(seeds: int, spread: float) -> None:
    draw, hits = random.Random(seeds), 0
    for _ in range(TRIALS):
        shared = windows(draw, 96, 0.3)
        offsets = [draw.gauss(0, spread) for _ in range(seeds)]
        interval = over_seeds_and_windows([[o + w + draw.gauss(0, 0.5) for w in shared] for o in offsets])
        assert interval is not None
        hits += interval.low <= 0 <= interval.high
    assert hits >= FEWEST_HITS


def test_seeds_as_the_readme_had_them_settle_nothing() -> None:
    interval = over_seeds([0.0122, -0.0060, 0.0092])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-0.019, 0.029), abs=1e-3)
    assert not interval.clear


def test_one_seed_says_nothing_of_seeds() -> None:
    assert over_seeds([0.1]) is None
    draw = random.Random(1)
    first, second = [windows(draw, 64)], [windows(draw, 64)]
    interval = paired(first, second)
    assert interval is not None
    assert interval.kind == "windows"
    assert unpaired(first, second) is None


def test_pairing_takes_out_what_both_sides_share() -> None:
    draw = random.Random(2)
    shared = [[draw.gauss(0, 1) + value for value in windows(draw, 64)] for _ in range(4)]
    better = [[value - 0.1 + draw.gauss(0, 0.01) for value in seed] for seed in shared]
    interval = paired(better, shared)
    assert interval is not None
    assert interval.kind == "seeds and windows"
    assert interval.high < -0.05
    unequal = unpaired(better, shared[:3])
    assert unequal is not None
    assert not unequal.clear


def test_other_windows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired([[0.0] * 64], [[0.0] * 63])


def test_an_interval_is_clear_where_it_excludes_zero() -> None:
    assert Interval(0.1, 0.2, 0.3, "seeds").clear
    assert Interval(-0.3, -0.2, -0.1, "seeds").clear
    assert not Interval(-0.1, 0.0, 0.1, "seeds").clear


def test_unpaired_seeds_add_up_their_spreads() -> None:
    draw = random.Random(7)
    sides = [([draw.gauss(0, 1) for _ in range(3)], [draw.gauss(0, 2) for _ in range(4)]) for _ in range(TRIALS)]
    found = [unpaired_seeds(*side) for side in sides]
    assert sum(one is not None and one.low <= 0 <= one.high for one in found) >= FEWEST_HITS
    assert unpaired_seeds([1.0], [2.0]) is None


def test_one_seed_against_several_is_taken_to_vary_as_they_do() -> None:
    draw = random.Random(8)
    sides = [([draw.gauss(0, 1)], [draw.gauss(0, 1) for _ in range(3)]) for _ in range(TRIALS)]
    found = [unpaired_seeds(*side) for side in (*sides, *(side[::-1] for side in sides))]
    inside = [one is not None and one.low <= 0 <= one.high for one in found]
    assert inside[:TRIALS] == inside[TRIALS:]
    assert FEWEST_HITS <= sum(inside[:TRIALS]) < TRIALS
    both = unpaired([[9.0] * 64], [[1.0 + 0.1 * seed] * 64 for seed in range(3)])
    assert both is not None
    assert both.mean == pytest.approx(7.9)
    assert both.high - both.mean == pytest.approx(4.3027 * 0.1 * math.sqrt(1 + 1 / 3), rel=1e-4)


def test_figures_that_were_measured_apart_add_up_their_intervals() -> None:
    found = of_two(Interval(0.2, 0.5, 0.8, "rounds"), Interval(-0.4, 0.0, 0.4, "rounds"))
    assert (found.low, found.mean, found.high) == pytest.approx((0.0, 0.5, 1.0))


@pytest.mark.parametrize("count", [6, 9, 20, 60])
def test_the_interval_of_a_median_covers_it_whatever_the_distribution(count: int) -> None:
    """Rounds have a long tail: other processes make some of them far longer, never shorter."""
    draw = random.Random(count)
    found = [of_median([math.exp(abs(draw.gauss(0, 1)) ** 3) for _ in range(count)]) for _ in range(TRIALS)]
    median = math.exp(0.674490**3)
    assert sum(one is not None and one.low <= median <= one.high for one in found) >= FEWEST_HITS


def test_a_median_of_few_rounds_has_no_interval() -> None:
    assert of_median([1.0] * 5) is None
    assert of_median([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == Interval(1.0, 3.5, 6.0, "rounds")
