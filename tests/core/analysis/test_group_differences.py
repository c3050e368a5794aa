"""Differences between groups: estimates by hand, Holm's correction, error rates, and numbers of seeds."""

import math
import random

import pytest

from core.analysis.group_differences import (
    MORE_TEXT,
    MOST_SEEDS,
    ONE_SEED,
    Sample,
    Samples,
    difference,
    holm,
    mean_of,
    sample_of,
    seeds_needed,
)
from core.intervals import LEAST_P, Estimate, paired, unpaired


def test_holm_multiplies_the_lowest_most_and_keeps_the_order() -> None:
    # by hand: 4 × 0.01 = 0.04; 3 × 0.02 = 0.06; 2 × 0.03 = 0.06; 1 × 0.04 < 0.06, as statsmodels' multipletests has it
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("t", "degrees", "p"),
    [(12.7062, 1, 0.05), (4.3027, 2, 0.05), (2.9200, 2, 0.1), (9.9248, 2, 0.01), (2.0, 10, 0.073388), (1.0, 1, 0.5)],
)
def test_the_p_value_of_one_error_is_that_of_students_t(t: float, degrees: int, p: float) -> None:
    assert Estimate(-3 * t, ((3.0, degrees),), "seeds").p_value() == pytest.approx(p, rel=1e-4)


def test_the_interval_at_a_p_value_ends_at_zero() -> None:
    found = Estimate(0.01, ((0.003, 2), (0.002, 63)), "seeds and windows")
    assert found.interval(1 - found.p_value()).low == pytest.approx(0, abs=1e-7)
    assert Estimate(1.0, ((0.0, 2),), "seeds").p_value() == LEAST_P
    assert Estimate(0.0, ((1.0, 2),), "seeds").p_value() == pytest.approx(1, abs=1e-5)
    assert Estimate(0.0, ((0.0, 2),), "seeds").p_value() == 1


def test_a_difference_has_the_interval_of_its_windows_and_seeds() -> None:
    draw = random.Random(1)
    first, second = ([[draw.gauss(5, 0.1) for _ in range(64)] for _ in range(3)] for _ in range(2))
    sides = [{seed: sample_of(windows) for seed, windows in enumerate(side)} for side in (first, second)]
    other = {seed + 10: sample for seed, sample in sides[1].items()}
    single = [{1: side[1]} for side in sides]
    for found, interval in (
        (difference(*map(Samples.of, sides)), paired(first, second)),
        (difference(Samples.of(sides[0]), Samples.of(other)), unpaired(first, second)),
        (difference(*map(Samples.of, single)), paired(first[1:2], second[1:2])),
    ):
        assert found is not None
        assert interval is not None
        mine = found.interval()
        assert (mine.kind, mine.clear) == (interval.kind, interval.clear)
        assert [mine.low, mine.high] == pytest.approx([interval.low, interval.high])


def test_without_windows_it_is_over_seeds_and_with_neither_unknown() -> None:
    first, second = Samples((1, 2), (5.0, 5.2)), Samples((1, 2), (5.1, 5.4))
    found = difference(first, second)
    assert found is not None
    # by hand: differences −0.1 and −0.2, deviation 0.1/√2, standard error 0.05
    assert (found.mean, found.errors, found.kind) == (
        pytest.approx(-0.15), ((pytest.approx(0.05), 1),), "seeds"
    )  # fmt: skip
    assert difference(Samples((1,), (5.0,)), Samples((1,), (5.1,))) is None
    assert difference(Samples((1,), (5.0,)), second) is None


def test_runs_of_one_seed_are_averaged_to_one_draw() -> None:
    assert mean_of([Sample(1.0, (0.0, 2.0)), Sample(3.0, (2.0, 4.0))]) == Sample(2.0, (1.0, 3.0))
    assert mean_of([Sample(1.0, (0.0, 2.0)), Sample(3.0)]) == Sample(2.0)


def test_of_equal_groups_hardly_any_pair_is_clear() -> None:
    draw, false, trials = random.Random(3), 0, 60
    for _ in range(trials):
        text = [draw.gauss(0, 1) for _ in range(48)]
        groups = [
            {s: sample_of([x + e + draw.gauss(0, 0.3) for x in text]) for s in range(3) for e in [draw.gauss(0, 0.1)]}
            for _ in range(4)
        ]
        sides = [*map(Samples.of, groups)]
        pairs = [difference(a, b) for place, a in enumerate(sides) for b in sides[:place]]
        false += min(holm([pair.p_value() for pair in pairs if pair])) < 0.05
    assert false <= 7  # at 5%, more happen in less than 1 case of 100


def test_numbers_of_seeds_are_those_of_power_tables() -> None:
    # G*Power, paired t test, α 0.05, power 0.8: d = 0.5 takes 34 pairs, d = 0.8 takes 15, d = 1.2 takes 8
    for size, pairs in ((0.5, 34), (0.8, 15), (1.2, 8)):
        needed = seeds_needed(Estimate(size, ((1 / math.sqrt(3), 2),), "seeds"))
        assert abs((needed.seeds or 0) - pairs) <= 1
    several = seeds_needed(Estimate(0.5, ((1 / math.sqrt(3), 2), (1 / math.sqrt(4), 3)), "seeds")).seeds
    assert abs((several or 0) - 2 * 33) <= 2, "two spreads add up"
    strict = seeds_needed(Estimate(0.5, ((1 / math.sqrt(3), 2),), "seeds"), alpha=0.01).seeds
    assert (strict or 0) > 45


def test_where_no_number_of_seeds_helps_it_says_so() -> None:
    assert seeds_needed(Estimate(0.1, ((0.1, 63),), "windows")) is ONE_SEED
    assert seeds_needed(Estimate(0.1, ((0.01, 2), (0.1, 63)), "seeds and windows")) is MORE_TEXT
    tiny = seeds_needed(Estimate(1e-6, ((0.1, 2),), "seeds"))
    assert (tiny.seeds, str(tiny)) == (MOST_SEEDS + 1, "more than 1,000")
