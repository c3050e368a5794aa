"""Summaries of the benchmarks' measurements."""

import importlib
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks._report import Figure, figure, number
from benchmarks.growth import growth, slope
from benchmarks.summary import page

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_is_the_power_that_something_grows_with(power: float) -> None:
    sizes = (1, 2, 8, 64)
    assert slope(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_growth_spreads_from_the_flattest_to_the_steepest_step_and_has_a_verdict() -> None:
    found = growth("time", (1, 10, 100), (1, 1, 100))
    assert (found.low, found.median, found.high) == pytest.approx((0, 1, 2))
    assert found.reached
    assert not growth("time", (1, 10, 100), (1, 100, 10_000)).reached


def test_a_figure_is_the_median_and_its_goal_bounds_it() -> None:
    assert figure("speed", [3, 1, 2], "×") == Figure("speed", "×", 2, 1, 3, 3)
    assert figure("speed", [2], "×").reached is None
    assert figure("speed", [2], "×", least=2).reached
    assert figure("time", [2, 2, 9], "ms", most=1).reached is False
    assert figure("time", [2], "ms", least=1, most=1000).goal == "≥ 1 ms and ≤ 1,000 ms"


def test_the_page_shows_every_figure_with_spread_goal_and_verdict() -> None:
    figures = [figure("fast", [7, 6, 8], "×", least=6), figure("slow", [300], "ms", most=100)]
    report = {"title": "A title", "machine": {"cores": 2}, "options": {"rounds": 3}, "notes": ["a remark"]}
    shown = page({"some": report | {"figures": [asdict(each) for each in figures]}}).splitlines()
    assert "## A title" in shown
    assert "`benchmarks/some.py`. cores 2" in shown
    assert "Options: rounds 3" in shown
    assert "| fast | 7 × | 6 … 8 | ≥ 6 × | reached |" in shown
    assert "| slow | 300 ms | one round | ≤ 100 ms | **missed** |" in shown
    assert "- a remark" in shown


def test_a_benchmark_with_figures_of_its_own_kind_is_named() -> None:
    assert "## other" in page({"other": {"rows": []}})


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.12345, 12.345, 12345.6)] == ["0.123", "12.3", "12,346"]


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_each_benchmark_finds_all_that_it_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
