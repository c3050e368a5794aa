"""The Inspect screen: every key, on scripted statistics whose figures are known."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.store.new_runs import NewRun
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.settings import Settings
from eetui.drawing.axes import sign
from eetui.drawing.chart import Chart
from eetui.drawing.figures import price as drawn_price
from eetui.inspection.screen import InspectScreen
from eetui.inspection.token_text import TokenText
from tests.eetui.driving import until_true
from tests.scripted_runs import RECORD, WIDTH, WINDOWS, add, append, config, keep_tokens, make_database, scripted, until

TOKENS = WINDOWS * WIDTH


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Run 1 has statistics of its tokens; 2 has none; 4 failed; 6 is queued."""
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    return path


@asynccontextmanager
async def inspecting(database: Path, run: int = 1, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    async with EetuiApp(database, Settings()).run_test(size=size) as pilot:
        await pilot.pause()
        pilot.app.open("inspect", run)  # type: ignore[attr-defined]
        await pilot.pause()
        await pilot.pause()
        yield pilot


def screen(pilot: Pilot[None]) -> InspectScreen:
    assert isinstance(pilot.app.screen, InspectScreen)
    return pilot.app.screen


def shown(pilot: Pilot[None], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


def text(pilot: Pilot[None]) -> TokenText:
    return pilot.app.screen.query_one(TokenText)


def looks(pilot: Pilot[None]) -> list[object]:
    """The styles of the text in view."""
    return [segment.style for line in range(6) for segment in text(pilot).render_line(line)]


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


def study(pilot: Pilot[None]) -> Any:
    found = screen(pilot).study
    assert found is not None
    return found


async def test_it_opens_at_the_runs_own_threshold_with_measured_and_worked_out_figures(database: Path) -> None:
    async with inspecting(database) as pilot:
        figures = shown(pilot, "#figures")
        assert "threshold 0.1300 (the run's own)" in figures
        leaves = [n for n in range(TOKENS) if n % 20 / 20 >= 0.13]
        loss = sum(6 - n % 20 / 20 - (n not in leaves) for n in range(TOKENS)) / TOKENS
        assert f"{math.exp(loss):.2f}" in figures
        assert f"{math.exp(5.36):.2f}" in figures  # measured
        assert f"measured {5.36 - loss:+.4f} nats" in figures.replace("\n", " ")
        assert f"exit rate {len(leaves) / TOKENS:.2%}" in figures
        assert "oracle" in figures


@pytest.mark.parametrize(
    ("keys", "threshold"),
    [
        (("right",), 0.14),
        (("left",), 0.12),
        (("right", "right", "shift+right"), 0.151),
        (("shift+left",), 0.129),
        (("right", "0"), 0.13),
        (("left",) * 20, 0.0),
    ],
)
async def test_arrows_move_the_threshold(database: Path, keys: tuple[str, ...], threshold: float) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, *keys)
        assert study(pilot).now.thresholds == pytest.approx((threshold,))
        assert f"threshold {threshold:.4f}" in shown(pilot, "#figures")


async def test_p_lets_the_arrows_move_the_price_and_draws_prices_by_savings(database: Path) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, "p", "right")
        price = study(pilot).price
        assert price is not None
        assert study(pilot).now.thresholds == study(pilot).prices.thresholds_at(price)
        assert f"price {drawn_price(price)}" in shown(pilot, "#figures")
        await press(pilot, "3")
        chart = pilot.app.screen.query_one("#curve", Chart)
        await until_true(pilot, lambda: len(chart.series) == 5)
        assert chart.x_label == "layers saved"
        assert [series.name for series in chart.series] == ["static depths", "one rate", "one price", "own", "now"]
        assert len({sign(series) for series in chart.series}) == 5, "told apart without colour"
        now = chart.series[-1]
        assert now.x == [study(pilot).prices.saved(study(pilot).now)]
        await press(pilot, "p", "left")
        assert study(pilot).price is None
        await until_true(pilot, lambda: chart.x_label == "exit rate")


async def test_figures_and_looks_follow_the_threshold(database: Path) -> None:
    async with inspecting(database) as pilot:
        before = looks(pilot)
        await press(pilot, *["right"] * 12)  # 0.25
        rate = sum(n % 20 / 20 >= 0.25 for n in range(TOKENS)) / TOKENS
        assert f"exit rate {rate:.2%}" in shown(pilot, "#figures")
        assert "own +0.1200" in shown(pilot, "#figures")
        assert looks(pilot) != before


async def test_the_exit_rate_moves_past_ties(database: Path) -> None:
    async with inspecting(database) as pilot:
        own = study(pilot).now.outcome.exit_rate(0)
        await press(pilot, "greater_than_sign")
        assert study(pilot).now.outcome.exit_rate(0) == pytest.approx(own + 0.05)  # a twentieth share a signal
        await press(pilot, "less_than_sign", "less_than_sign")
        assert study(pilot).now.outcome.exit_rate(0) == pytest.approx(own - 0.05)


async def test_figures_follow_a_key_at_once(database: Path) -> None:
    async with inspecting(database, size=(160, 50)) as pilot:
        began = time.perf_counter()
        screen(pilot).action_move(0.01)
        assert time.perf_counter() - began < 0.1
        assert "own +0.0100" in shown(pilot, "#figures")


async def test_the_cursor_goes_by_token_line_page_and_end(database: Path) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, "l", "l", "ctrl+right", "h")
        assert text(pilot).cursor == 2
        await press(pilot, "j")
        layout = text(pilot)._layout
        assert layout is not None
        assert layout.line_of(text(pilot).cursor) == layout.line_of(2) + 1
        await press(pilot, "up")
        assert text(pilot).cursor == 2
        await press(pilot, "pagedown")
        assert layout.line_of(text(pilot).cursor) > layout.line_of(2) + 5
        await press(pilot, "pageup")
        assert text(pilot).cursor == 2
        await press(pilot, "end")
        assert text(pilot).cursor == TOKENS - 1
        assert text(pilot).scroll_offset.y > 0
        await press(pilot, "home")
        assert (text(pilot).cursor, text(pilot).scroll_offset.y) == (0, 0)


async def test_a_click_puts_the_cursor_on_a_token(database: Path) -> None:
    async with inspecting(database) as pilot:
        await pilot.click(TokenText, offset=(4, 1))
        layout = text(pilot)._layout
        assert layout is not None
        assert text(pilot).cursor == layout.token_at(1, 3)


async def test_the_token_under_the_cursor_is_told_in_words(database: Path) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, *["l"] * 3)
        pane = shown(pilot, "#token")
        assert '"⏎" → " words"' not in pane
        assert "token 4 of 320, window 1, place 4" in pane
        first, second = pane.splitlines()[1:3]
        assert "signal 0.1500 ≥ 0.1300 leaves here" in first
        assert "5.8500 nats  ✓" in first
        assert "4.8500 nats  ✗" in second
        await press(pilot, "right", "right", "right")
        first, second = shown(pilot, "#token").splitlines()[1:3]
        assert "signal 0.1500 < 0.1600 goes on" in first
        assert "leaves here" in second


async def test_search_next_before_and_not_found(database: Path) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, "slash")
        pilot.app.screen.query_one(Input).value = "nowhere"
        await press(pilot, "enter")
        assert text(pilot).cursor == 0
        assert [note.message for note in pilot.app._notifications] == ["the text has no 'nowhere'"]
        await press(pilot, "slash")
        pilot.app.screen.query_one(Input).value = "MODEL"
        await press(pilot, "enter")
        first = text(pilot).cursor
        pieces, inputs = study(pilot).looks.pieces, study(pilot).table.inputs
        assert pieces[inputs[first]] == " model"
        await press(pilot, "ctrl+n")
        second = text(pilot).cursor
        assert second > first
        assert pieces[inputs[second]] == " model"
        await press(pilot, "N")
        assert text(pilot).cursor == first


async def test_an_empty_search_is_refused_and_escape_leaves_the_place(database: Path) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, "slash", "enter")
        assert not isinstance(pilot.app.screen, InspectScreen)
        await press(pilot, "escape")
        assert text(pilot).cursor == 0


async def test_t_jumps_to_tokens_that_left_too_early(database: Path) -> None:
    async with inspecting(database) as pilot:
        expected = [n for n in range(TOKENS) if n % 20 / 20 >= 0.13 and n % 3 and not n % 2]
        await press(pilot, "t")
        assert text(pilot).cursor == expected[0]
        await press(pilot, "t", "t")
        assert text(pilot).cursor == expected[2]
        await press(pilot, "T")
        assert text(pilot).cursor == expected[1]


@pytest.mark.parametrize(("key", "selector"), [("1", "#text"), ("2", "#blocks"), ("3", "#curve"), ("4", "#quality")])
async def test_number_keys_choose_what_a_small_screen_shows(database: Path, key: str, selector: str) -> None:
    async with inspecting(database) as pilot:
        await press(pilot, "2" if key != "2" else "1", key)
        visible = [
            each for each in ("#text", "#blocks", "#curve", "#quality") if pilot.app.screen.query_one(each).region
        ]
        assert visible == [selector]


async def test_a_large_screen_shows_text_blocks_histogram_and_curve_together(database: Path) -> None:
    async with inspecting(database, size=(160, 50)) as pilot:
        await pilot.pause(0.3)
        for selector in ("#text", "#blocks", "#histogram", "#curve"):
            assert pilot.app.screen.query_one(selector).region.height > 3
        assert "later PPL" in shown(pilot, "#blocks")
        assert "0.1300" in shown(pilot, "#histogram")
        series = pilot.app.screen.query_one(Chart).series
        assert [one.name for one in series] == ["what if", "own", "now"]
        assert series[1].y == series[2].y
        await press(pilot, "right")
        await pilot.pause(0.3)
        assert "0.1400" in shown(pilot, "#histogram")


async def test_with_three_blocks_the_brackets_choose_the_exit(tmp_path: Path) -> None:
    path = tmp_path / "three.db"
    with Writer(path) as writer:
        deep = config(block_layers=(1, 1, 1)).model_dump_json()
        (run,) = writer.create_experiment([NewRun(None, "loss", 42, "quick", deep, RECORD)])
        append(writer, run, list(scripted()))
        keep_tokens(writer, run, blocks=3)
    async with inspecting(path, run) as pilot:
        assert "exit 1 of 2, after block 0" in shown(pilot, "#figures")
        await press(pilot, "right_square_bracket", "right")
        assert "exit 2 of 2, after block 1" in shown(pilot, "#figures")
        assert study(pilot).now.thresholds == pytest.approx((0.13, 0.14))
        await press(pilot, "left_square_bracket", "left")
        assert study(pilot).now.thresholds == pytest.approx((0.12, 0.14))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (2, "eetui run --preset quick --method distill"),
        (4, "resume it first"),
        (6, "come with the evaluation"),
        (99, "no run 99"),
    ],
)
async def test_runs_without_statistics_say_why_and_what_to_do(database: Path, run: int, words: str) -> None:
    async with inspecting(database, run) as pilot:
        assert words in shown(pilot, "#sentence")
        await press(pilot, "right", "slash", "t", "2")  # nothing to move, and nothing breaks
        assert screen(pilot).study is None


async def test_statistics_that_come_while_one_waits_are_shown(tmp_path: Path) -> None:
    path, events = tmp_path / "live.db", list(scripted())
    with Writer(path) as writer:
        half = until(iter(events), "block1.lm", 1)
        run = add(writer, half)
        async with inspecting(path, run) as pilot:
            assert "wait for it here" in shown(pilot, "#sentence")
            append(writer, run, events[len(half) :], half)
            keep_tokens(writer, run)
            await until_true(pilot, lambda: "threshold 0.1300" in shown(pilot, "#figures"))


async def test_the_theme_can_change(database: Path) -> None:
    async with inspecting(database) as pilot:
        before = looks(pilot)
        await press(pilot, "ctrl+t")
        assert looks(pilot) != before
