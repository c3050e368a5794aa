"""The Sweep screen in an app: what it opens with, its keys, what it opens, and what another process changes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot

from eetui.app import EetuiApp
from eetui.compare.screen import CompareScreen
from eetui.drawing.chart import Chart
from eetui.sweeps.lines import Lines
from eetui.sweeps.screen import SweepsScreen
from tests.eetui.driving import press, until_true
from tests.scripted_runs import keep_sweep

NAME = "night\x1b[31m"


@pytest.fixture
def swept(database: Path) -> Path:
    return keep_sweep(database, NAME)


async def opened(pilot: Pilot[None]) -> SweepsScreen:
    await press(pilot, "W")
    screen = pilot.app.screen
    assert isinstance(screen, SweepsScreen)
    await until_true(pilot, lambda: screen.found is not None)
    return screen


async def viewed(pilot: Pilot[None], screen: SweepsScreen, key: str) -> Lines:
    await press(pilot, key)
    await until_true(pilot, lambda: screen.found is not None and screen.found.wanted.view == screen.view)
    await pilot.pause()
    return screen.query_one(f"#{screen.view}", Lines)


async def test_it_opens_with_the_newest_sweep_and_a_sign_for_each_seed(swept: Path) -> None:
    app = EetuiApp(swept)
    async with app.run_test(size=(160, 50)) as pilot:
        screen = await opened(pilot)
        rows = screen.query_one("#cells", Lines).rows
        assert [row[1:5] for row in rows][::5] == [("loss", "0.3", "✓✓", "2/2"), ("softmax", "0.7", "✓…", "1/2")]
        assert "night�[31m" in str(screen.query_one("#title").render())
        await until_true(pilot, lambda: bool(screen.counts))
        assert screen.query_one("#sweeps", Lines).rows == [("night�[31m", "✓11 …1")]


async def test_keys_choose_metric_and_axes_of_the_heat_table(swept: Path) -> None:
    app = EetuiApp(swept)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        lines = await viewed(pilot, screen, "2")
        assert lines.heads == ("hard_ratio \\ method", "loss", "softmax")
        assert [row[0] for row in lines.rows] == ["0.3", "0.5", "0.7"]
        await press(pilot, "x")
        await until_true(pilot, lambda: lines.heads[0] == "method \\ hard_ratio")
        dark = screen.views.content.styles
        await press(pilot, "ctrl+t")
        await until_true(pilot, lambda: screen.views.content.styles != dark)
        assert screen.views.content.styles.keys() == dark.keys()
        await press(pilot, "m")
        await until_true(pilot, lambda: lines.rows[0][1].startswith("20.00%"))


async def test_each_view_says_what_it_shows_or_why_it_can_not(swept: Path) -> None:
    app = EetuiApp(swept)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        front = await viewed(pilot, screen, "3")
        assert len(front.rows) == 6
        assert [one.name for one in screen.query_one(Chart).series] == ["front", "loss", "softmax"]
        best = await viewed(pilot, screen, "4")
        assert best.rows[0][:2] == ("best PPL", "loss 0.3")
        await press(pilot, "right_square_bracket")
        await until_true(pilot, lambda: "within 2%" in best.rows[2][0])
        await press(pilot, "5")
        text = screen.query_one("#importance-text")
        await until_true(pilot, lambda: "importance takes 8 combinations or more" in str(text.render()))


async def test_enter_opens_the_runs_of_a_combination(swept: Path) -> None:
    app = EetuiApp(swept)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "enter", "down", "enter")
        compare = app.screen
        assert isinstance(compare, CompareScreen)
        assert compare.runs == (2, 8)


async def test_what_another_process_finishes_or_deletes_is_shown(swept: Path) -> None:
    app = EetuiApp(swept)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        with closing(sqlite3.connect(swept)) as connection, connection:
            connection.execute("UPDATE runs SET status = 'finished', final_ppl = 99 WHERE id = 12")
        connection.close()
        await until_true(pilot, lambda: screen.query_one("#cells", Lines).rows[5][3] == "✓✓")
        with closing(sqlite3.connect(swept)) as connection, connection:
            connection.executescript("DELETE FROM sweep_cells; DELETE FROM sweeps")
        connection.close()
        await until_true(pilot, lambda: not screen.query_one("#cells", Lines).rows)
        assert screen.found is None


async def test_without_a_sweep_it_says_how_to_make_one(six_runs: Path) -> None:
    app = EetuiApp(six_runs)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "W", "2", "m", "enter", "1")
        screen = app.screen
        assert isinstance(screen, SweepsScreen)
        assert screen.found is None
        assert screen.query_one("#cells", Lines).empty == "", "nothing is being read"
        assert "eetui sweep -m loss" in screen.query_one("#sweeps", Lines).render_line(0).text
