"""Figures as they are written everywhere."""

from eetui.drawing.figures import number_of


def test_one_thing_has_no_plural_and_thousands_are_told_apart() -> None:
    assert [number_of(count, "run") for count in (0, 1, 2, 10_000)] == ["0 runs", "1 run", "2 runs", "10,000 runs"]
