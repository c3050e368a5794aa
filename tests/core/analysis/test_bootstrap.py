import random

import pytest

from core.analysis.bootstrap import paired_difference


def test_the_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    draw = random.Random(1)
    first = [draw.gauss(5, 1) for _ in range(640)]
    second = [loss - 0.2 + draw.gauss(0, 0.1) for loss in first]
    low, mean, high = paired_difference(first, second)
    assert low < mean < high
    assert mean == pytest.approx(0.2, abs=0.02)
    assert (low, mean, high) == paired_difference(first, second)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(2)
    hits = 0
    for _ in range(60):
        noise = [draw.gauss(0, 1) for _ in range(640)]
        low, _, high = paired_difference(noise, [0.0] * 640)
        hits += low <= 0 <= high
    assert 50 <= hits <= 60


def test_windows_that_hang_together_widen_the_interval() -> None:
    draw = random.Random(3)
    apart = [draw.gauss(0, 1) for _ in range(640)]
    together = [value for value in apart[:20] for _ in range(32)]
    low, _, high = paired_difference(apart, [0.0] * 640)
    low_together, _, high_together = paired_difference(together, [0.0] * 640)
    assert high_together - low_together > 2 * (high - low)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], [])])
def test_windows_that_are_not_paired_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="paired windows"):
        paired_difference(first, second)
