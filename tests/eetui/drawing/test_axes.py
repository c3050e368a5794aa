"""Axes, views and legends."""

import math

from eetui.drawing.axes import (
    LINEAR,
    PPL,
    SHARE,
    WHOLE,
    View,
    latest,
    legend,
    linear_ticks,
    perplexity_ticks,
    plain_labels,
    whole_ticks,
)
from eetui.drawing.series import Series

# Axes and views


def test_ticks_are_round() -> None:
    assert linear_ticks(4.1, 7.9, 3) == [5.0, 6.0, 7.0]
    assert plain_labels([0.25, 0.5, 0.75]) == ["0.25", "0.50", "0.75"]
    assert whole_ticks(0.1, 3.2, 8) == [1.0, 2.0, 3.0]
    assert linear_ticks(1.0, 1.0, 5) == [1.0]
    assert plain_labels([]) == []


def test_ppl_ticks_are_round_in_ppl_and_lie_in_nats() -> None:
    wide = perplexity_ticks(math.log(50), math.log(5000), 8)
    assert PPL.labels(wide) == ["50", "100", "200", "500", "1,000", "2,000", "5,000"]
    narrow = perplexity_ticks(math.log(90), math.log(99), 4)
    assert PPL.labels(narrow) == ["90", "92", "94", "96", "98"]
    assert all(tick <= 700 for tick in perplexity_ticks(0.0, 700.0, 8))


def test_values_are_written_in_the_unit_of_their_axis() -> None:
    assert PPL.value(math.log(123.456)) == "123.46"
    assert SHARE.labels([0.1, 0.2]) == ["10%", "20%"]
    assert (WHOLE.value(3.0), LINEAR.value(1 / 3)) == ("3", "0.3333")


EXTENT = (0.0, 10.0)


def test_a_view_shows_everything_until_it_is_zoomed_and_then_follows() -> None:
    assert View().x(EXTENT) == (0.0, 10.0)
    zoomed = View().zoomed(0.5, EXTENT)
    assert zoomed.x(EXTENT) == (5.0, 10.0)
    assert zoomed.x((0.0, 12.0)) == (7.0, 12.0)
    assert zoomed.zoomed(2.0, EXTENT) == View()


def test_a_panned_view_stays_where_it_is_until_it_follows_again() -> None:
    panned = View().zoomed(0.5, EXTENT).panned(-0.2, EXTENT)
    assert not panned.follows
    assert panned.x((0.0, 100.0)) == (4.0, 9.0)
    assert panned.following().x((0.0, 100.0)) == (95.0, 100.0)


def test_a_view_never_leaves_its_data() -> None:
    view = View().zoomed(0.1, EXTENT)
    for _ in range(100):
        view = view.panned(-1.0, EXTENT)
    assert view.x(EXTENT)[1] > 0.0
    for _ in range(100):
        view = view.panned(1.0, EXTENT)
    assert view.x(EXTENT)[0] < 10.0


def test_a_view_zooms_about_a_point() -> None:
    low, high = View().zoomed(0.5, EXTENT, at=2.0).x(EXTENT)
    assert (low, high) == (1.0, 6.0)


def test_a_y_range_moves_and_stretches() -> None:
    assert View().raised(0.5, (0.0, 2.0)).y == (1.0, 3.0)
    assert View().stretched(0.5, (0.0, 2.0), 1.0).y == (0.5, 1.5)


# Legend, sentence, curves of a stage

SERIES = (
    Series("old", [1.0], [9.0], 3, "behind"),
    Series("", [1.0], [4.0], 0, "faint"),
    Series("train", [1.0, 2.0], [4.5, 4.31], 0),
    Series("early-stop", [1.0, 3.0], [4.6, 4.52], 1, "marked"),
)


def test_the_legend_tells_series_apart_by_sign() -> None:
    assert legend("loss", SERIES, True, 80).plain == "loss  ⠒⠒ train  ⠒▲⠒ early-stop  ⠂⠂ old"
    assert legend("loss", SERIES, True, 16).plain == "loss  ⠒⠒ train"


def test_the_sentence_gives_the_newest_value_of_each_curve() -> None:
    words = latest("loss in nats", SERIES, LINEAR, WHOLE, "epoch")
    assert words == "loss in nats: train 4.3100 · early-stop 4.5200 (epoch 3)"
    assert latest("PPL", (), PPL, WHOLE, "epoch") == "PPL: nothing yet"
