"""The savings view of Compare: curves from stored statistics, areas, and runs without a curve."""

import json
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from core.analysis import run_quality as quality
from core.errors import UsageError
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.compare import savings_curves
from eetui.compare.comparison import Comparison, Value, compare
from eetui.compare.savings_curves import PricedCurve, SavingsCurve, mean_curve, run_curve
from eetui.compare.savings_gaps import better_before
from eetui.compare.savings_text import note, series
from eetui.compare.savings_view import SavingsView
from eetui.drawing.chart import Chart
from tests.eetui.comparing import run
from tests.scripted_runs import add, keep_tokens, make_database, scripted
from tests.stored_tokens import store_run


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store runs 1 and 2 with statistics of their tokens, 3 without; 7 and 8 repeat 1 with other seeds, 7 with them."""
    monkeypatch.chdir(tmp_path)
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        runs = [add(writer, list(scripted("loss")), "loss", seed) for seed in (43, 44)]
        for run in (1, 2, runs[0]):
            keep_tokens(writer, run)
    return path


@asynccontextmanager
async def comparing(database: Path, *runs: int, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    async with EetuiApp(database).run_test(size=size) as pilot:
        await pilot.pause()
        pilot.app.open("compare", *runs)  # type: ignore[attr-defined]
        await pilot.pause()
        await pilot.press("5")
        await view(pilot).workers.wait_for_complete()
        await pilot.pause(0.2)
        yield pilot


def view(pilot: Pilot[None]) -> SavingsView:
    return pilot.app.screen.query_one(SavingsView)


def words(pilot: Pilot[None], place: str) -> str:
    return str(pilot.app.screen.query_one(place, Static).content)


def test_a_curve_is_that_of_the_runs_quality(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = store_run(path, blocks=3)
    with Reader(path) as reader:
        curve, judged = run_curve(reader, run), quality.run_quality(reader, run).quality
    np.testing.assert_allclose(curve.savings, judged.layers.savings)
    np.testing.assert_allclose(curve.loss, judged.layers.loss)
    np.testing.assert_allclose(curve.line, judged.layers.line)
    assert curve.area == Value(judged.layers.area)
    assert curve.gain == Value(judged.layers.mean_gain or 0)
    assert curve.area.mean > 0
    points = sorted(judged.priced_layers.points, key=lambda point: point.savings)
    assert (curve.priced.savings[0], curve.priced.savings[-1]) == (points[0].savings, points[-1].savings)
    assert curve.priced.loss[0] == points[0].loss
    assert curve.priced.beats == Value(len(judged.priced_layers.below) / len(points))
    assert curve.priced.gain.mean > 0
    lowest, found = judged.priced_layers.lowest, curve.priced.furthest
    assert lowest is not None
    assert found is not None
    assert (found.savings, found.interval) == (lowest.savings, lowest.difference)


def test_without_statistics_there_is_no_curve(database: Path) -> None:
    with Reader(database) as reader, pytest.raises(UsageError, match="keeps no statistics"):
        run_curve(reader, 3)


def curve(savings: tuple[float, ...], loss: tuple[float, ...], above: list[list[float]]) -> SavingsCurve:
    """Return a curve whose price and exit rate give the same; `above`: of each window, `[J, W]`."""
    priced = PricedCurve(savings, loss, (np.array(above),), Value(0.1), Value(0.5))
    return SavingsCurve(savings, loss, loss, Value(loss[0]), Value(0.1), Value(0.5), priced)


def test_seeds_are_joined_at_common_savings() -> None:
    first = curve((0.0, 0.4, 0.6), (3.0, 3.4, 3.6), [[0.0] * 24, [-0.2] * 24, [0.2] * 24])
    second = curve((0.1, 0.2, 0.5), (3.1, 3.2, 3.5), [[0.0] * 24, [0.0] * 24, [-0.2] * 24])
    both = mean_curve([first, second])
    assert (both.savings[0], both.savings[-1]) == (0.1, 0.5)
    assert both.loss == pytest.approx([3 + saved for saved in both.savings]), "both lose as much as they save"
    assert both.priced.loss == pytest.approx([3 + saved for saved in both.priced.savings])
    assert (both.area.mean, both.area.deviation) == (pytest.approx(3.05), pytest.approx(0.1 / 2**0.5))
    assert both.deviation == pytest.approx([0.0] * len(both.savings)), "and so they lie on one line"
    assert curve((0.0, 0.5), (3.0, 3.5), [[0.0] * 24] * 2).deviation == ()
    bands = [one for one in series(compare([run("a-1", 1), run("a-2", 2)]), {0: both}) if one.style == "band"]
    assert [(one.hue, one.x[0], one.x[-1]) for one in bands] == [(0, 0.1, 0.5)] * 2
    found = both.priced.furthest
    assert found is not None
    assert found.savings == pytest.approx(0.4, abs=0.01)
    assert found.above == pytest.approx(-(0.2 + 0.2 * 2 / 3) / 2, abs=0.005)
    assert found.interval is not None
    assert (found.interval.kind, found.interval.mean) == ("seeds and windows", pytest.approx(found.above))


def test_the_furthest_point_below_the_line_is_one_that_saves() -> None:
    above = [[-0.5] * 24, [*[0.01] * 12, *[0.03] * 12], [0.2] * 24]
    found = curve((0.0, 0.2, 0.5), (3.0, 3.1, 3.3), above).priced.furthest
    assert found is not None
    assert (found.savings, found.above) == (0.2, pytest.approx(0.02))
    assert found.interval is not None
    assert found.interval.kind == "windows"
    assert found.interval.low < found.above < found.interval.high
    assert curve((0.0, 0.0), (3.0, 3.0), above[:2]).priced.furthest is None


def test_deferred_layers_are_not_called_saved_without_a_word() -> None:
    states = ("copy", "deferred")
    layers = {"model.block_layers": (1, 1)}
    runs = [replace(run(state), config={"method": state, "exit.exited_state": state, **layers}) for state in states]
    curves = dict.fromkeys((0, 1), curve((0.0, 0.2), (3.0, 3.1), [[0.0] * 24] * 2))
    comparison = compare(runs)
    assert "Of deferred (exited_state=deferred)" in note(comparison, curves, {}, busy=False)
    assert "exited_state=deferred" not in note(comparison, {0: curves[0]}, {}, busy=False)


def test_a_block_that_was_better_before_later_training_is_told() -> None:
    trained = {"eval.block 0 as trained": math.exp(3.06)}
    layers = {"model.block_layers": (1, 1)}
    runs = [replace(run(name, 1, 3.0, **trained), config={"method": name, **layers}) for name in ("loss", "gain")]
    below = curve((0.0, 0.6), (3.0, 3.06), [[0.0] * 24] * 2)  # 3.05 at 50%
    comparison = compare(runs)
    assert [*better_before(comparison, {"loss": below, "gain": "gain keeps nothing"})] == []
    above = replace(below, loss=(3.05, 3.1), priced=replace(below.priced, loss=(3.06, 3.1)))
    (said,) = better_before(comparison, {"loss": above, "gain": below})
    assert said.startswith(
        "Block 0 before later ones were trained (50.0% of the layers saved) stands below the curves of loss;"
    )
    assert f"{said}." in note(comparison, {0: above}, {"loss": above}, busy=False)
    assert [*better_before(comparison, {"loss": curve((0.0, 0.4), (3.1, 3.2), [[0.0] * 24] * 2)})] == []


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_curves_and_their_static_depths_are_drawn_together(database: Path, size: tuple[int, int]) -> None:
    async with comparing(database, 1, 2, 3, size=size) as pilot:
        series = pilot.app.screen.query_one("#savings", Chart).series
        assert [(one.style, one.hue) for one in series if one.style != "scatter"] == [
            ("behind", 0), ("behind", 1), ("line", 0), ("line", 1), ("thick", 0), ("thick", 1),
        ]  # fmt: skip
        assert [one.name for one in series if one.style == "scatter" and one.name] == [
            "loss-1",
            "distill-2",
            "softmax-3",
        ]
        for one in series:
            if one.style == "line":
                assert (min(one.x), max(one.x)) == (0.0, 0.5)
        lines = words(pilot, "#areas").splitlines()
        assert [line.split()[1] for line in lines[1:]] == ["loss-1", "distill-2"]
        why = "No savings curve of softmax-3: it keeps no statistics of its tokens (finished)."
        assert why in words(pilot, "#savings-note")
        assert "Working out" not in words(pilot, "#savings-note")
        chart = pilot.app.screen.query_one("#savings", Chart)
        assert chart.query_one("Plot").display
        assert pilot.app.screen.query_one("#savings-note").region.bottom < size[1]


async def test_seeds_share_a_curve_and_where_some_have_none_it_says_how_many(database: Path) -> None:
    async with comparing(database, 1, 7, 2) as pilot:
        assert "loss ×2 " in words(pilot, "#areas")
        assert "±" in words(pilot, "#areas")
        assert "of 2 seeds" not in words(pilot, "#areas") + words(pilot, "#savings-note")
    async with comparing(database, 1, 7, 8, 2, size=(120, 40)) as pilot:
        assert "loss ×3 (curve: 2 of 3 seeds) " in words(pilot, "#areas")
        why = "Savings curve of 2 of 3 seeds of loss ×3: the other keeps no statistics of its tokens (finished)."
        assert why in words(pilot, "#savings-note")
        await pilot.press("g")
        await pilot.pause(0.2)
        assert [line.split()[1] for line in words(pilot, "#areas").splitlines()[1:]] == [
            "loss-1",
            "loss-7",
            "distill-2",
        ]


async def test_they_are_worked_out_once_on_a_thread(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[int, bool]]()

    def noted(reader: Reader, run: int) -> object:
        asked.append((run, threading.current_thread() is threading.main_thread()))
        return run_curve(reader, run)

    monkeypatch.setattr(savings_curves, "run_curve", noted)
    async with comparing(database, 1, 2, 3) as pilot:
        await pilot.press("1", "5", "g", "b")
        await pilot.pause(0.3)
    assert asked == [(1, False), (2, False), (3, False)]


async def test_areas_are_exported_with_the_savings(database: Path, tmp_path: Path) -> None:
    async with comparing(database, 1, 2, 8) as pilot:
        screen = pilot.app.screen
        screen._export("json")  # type: ignore[attr-defined]
        comparison: Comparison = screen.comparison  # type: ignore[attr-defined]
        assert comparison.further == ()
    (path,) = tmp_path.rglob("compare-savings.json")
    written = json.loads(path.read_text())
    rows = {row["metric"]: row for row in written["savings"]}
    assert rows["line.area"]["values"][0]["mean"] != 0
    assert rows["line.area"]["seeds"] == [1, 1], "of loss, one of two"
    assert any(note.startswith("Savings curve of 1 of 2 seeds of loss ×2 (intervals") for note in written["notes"])
    assert {"price.gain", "price.beats", "price.furthest", "price.furthest.low"} <= set(rows)
