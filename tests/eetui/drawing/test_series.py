"""Series for charts: bounded, smoothed, reduced."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetui.drawing.series import Curve, Series, fill, mean_band, reduce_to_columns, resample, smooth, span_for


def filled(values: list[float], limit: int = 8) -> Curve:
    curve = Curve(limit)
    for index, value in enumerate(values):
        curve.append(float(index), value)
    return curve


def test_a_short_curve_keeps_every_value() -> None:
    x, mean = filled([3.0, 1.0, 2.0]).means()
    assert (list(x), list(mean)) == ([0.0, 1.0, 2.0], [3.0, 1.0, 2.0])


def test_a_curve_of_a_million_steps_keeps_fewer_points_than_its_limit() -> None:
    curve = Curve()
    for index in range(1_000_000):
        curve.append(index, float(index % 7))
    assert len(curve) <= curve.limit
    assert curve.total == 1_000_000
    x, mean = curve.means()
    assert x[-1] == 999_999
    assert mean[10] == pytest.approx(3.0, abs=0.1)
    assert max(curve.ranges()[1]) == 6.0
    assert min(curve.ranges()[1]) == 0.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_merging_keeps_mean_range_and_order(values: list[float]) -> None:
    curve = filled(values)
    x, mean = curve.means()
    assert list(x) == sorted(x)
    whole = len(values) // curve.stride * curve.stride
    weights = [curve.stride] * (whole // curve.stride) + ([len(values) - whole] if whole < len(values) else [])
    total = math.fsum(m * w for m, w in zip(mean, weights, strict=True))
    assert total == pytest.approx(math.fsum(values), rel=1e-9, abs=1e-3)
    if whole and curve.stride > 1:
        assert min(curve.ranges()[1]) == min(values[:whole])
        assert max(curve.ranges()[1]) == max(values[:whole])


def test_values_that_are_not_finite_are_left_out() -> None:
    assert list(filled([1.0, math.nan, math.inf, 2.0]).means()[1]) == [1.0, 2.0]


def test_smoothing_keeps_a_constant_and_narrows_noise() -> None:
    assert list(smooth([5.0] * 9, 4)) == pytest.approx([5.0] * 9)
    noisy = [(-1.0) ** index for index in range(100)]
    assert max(map(abs, smooth(noisy, 20)[20:])) < 0.2


def test_smoothing_over_one_value_changes_nothing() -> None:
    assert list(smooth([1.0, 4.0, 2.0], 1)) == [1.0, 4.0, 2.0]
    assert span_for(10) == 1
    assert span_for(2000) == 50


def test_reducing_keeps_the_lowest_and_highest_of_every_column() -> None:
    x = [float(index) for index in range(10_000)]
    y = [math.sin(index) + (50 if index == 4321 else 0) - (50 if index == 8765 else 0) for index in range(10_000)]
    reduced_x, reduced_y = reduce_to_columns(x, y, 100, 0, 9999)
    assert len(reduced_x) <= 2 * 101
    assert max(reduced_y) == max(y)
    assert min(reduced_y) == min(y)
    assert all(a <= b for a, b in pairwise(reduced_x))


def test_reducing_keeps_a_neighbour_on_either_side_of_the_view() -> None:
    x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert reduce_to_columns(x, x, 10, 1.5, 3.5)[0] == [1.0, 2.0, 3.0, 4.0]


def test_reducing_an_empty_series_gives_an_empty_one() -> None:
    assert reduce_to_columns([], [], 10, 0, 1) == ([], [])


def test_resampling_follows_the_line_and_stays_within_it() -> None:
    x, y = resample([1.0, 3.0], [10.0, 30.0], 4, 0.0, 4.0)
    assert x == [1.5, 2.5]
    assert y == pytest.approx([15.0, 25.0])
    assert resample([1.0], [1.0], 4, 0.0, 4.0) == ([], [])


def test_a_band_is_mean_and_deviation_where_that_is_known() -> None:
    (band,) = mean_band([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [0.5, 1.0, None], 3)
    assert (band.x, band.y, band.upper, band.hue, band.style) == ([1.0, 2.0], [4.5, 5.0], [5.5, 7.0], 3, "band")
    assert mean_band([1.0, 2.0], [5.0, 6.0], [None, 0.1], 0) == []


def test_a_band_is_filled_with_every_other_dot_between_its_ends_and_inside_the_axis() -> None:
    dots = fill(Series("", [0.0, 1.0, 2.0], [2.0, 2.0, -9.0], style="band", upper=[6.0, 6.0, 99.0]), 0.0, 8.0, 8)
    found = {x: [y for at, y in zip(dots.x, dots.y, strict=True) if at == x] for x in (0.0, 1.0, 2.0)}
    assert found == {0.0: [2.5, 4.5], 1.0: [3.5, 5.5], 2.0: [0.5, 2.5, 4.5, 6.5]}
    assert dots.style == "faint"
