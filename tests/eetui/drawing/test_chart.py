"""The chart widget: drawing, the rate of redraws, keys and mouse."""

import asyncio
import math

import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.events import MouseScrollDown
from textual.widgets import Static

from eetui.drawing import chart as chart_widget
from eetui.drawing.axes import PPL, SHARE, WHOLE, View
from eetui.drawing.chart import Chart
from eetui.drawing.plot import Plot, XTicks
from eetui.drawing.series import Series
from eetui.drawing.themes import THEMES, hue

LONG = Series("train", [n / 100 for n in range(10_000)], [4 + math.sin(n) for n in range(10_000)])
EPOCHS = Series("val", [10.0, 50.0, 90.0], [5.0, 4.5, 4.2], 1, "marked")


@pytest.fixture(autouse=True)
def redrawn_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_widget, "SECONDS_BETWEEN", 0.25)


class Demo(App[None]):
    def compose(self) -> ComposeResult:
        with Vertical():
            yield Chart("loss", x_label="epoch", x_axis=WHOLE)

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name

    @property
    def chart(self) -> Chart:
        return self.query_one(Chart)


def drawn(chart: Chart) -> str:
    """Return the canvas as text."""
    return "\n".join("".join(line) for line in chart.query_one(Plot).canvas._buffer)


def words(chart: Chart, place: str) -> str:
    return str(chart.query_one(f".chart--{place}", Static).render())


async def settle(seconds: float = 0.8) -> None:
    await asyncio.sleep(seconds)


async def test_charts_are_drawn_under_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_series([LONG, EPOCHS])
        await settle()
        await pilot.resize_terminal(60, 12)
        await settle()
        await pilot.pause()
        assert drawn(app.chart).strip()


async def test_curves_are_told_apart_without_colour() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_series([LONG, EPOCHS, Series("best", [90.0], [4.2], 1, "scatter", "★")])
        await settle()
        await pilot.pause()
        canvas = drawn(app.chart)
        assert canvas.count(hue(1).sign) == 2
        assert "★" in canvas
        assert sum(0x2800 < ord(character) < 0x2900 for character in canvas) > 60
        assert words(app.chart, "head") == "loss by epoch  ⠒⠒ train  ⠒▲⠒ val  ★ best"


async def test_every_style_is_drawn() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        x, y = [0.0, 1.0, 2.0], [1.0, 2.0, 1.5]
        for style in ("line", "thick", "marked", "scatter", "faint", "behind", "band"):
            app.chart.set_series([Series("a", x, y, 2, style, upper=[2.0, 3.0, 3.5] if style == "band" else ())])  # type: ignore[arg-type]
            await settle()
            await pilot.pause()
            inside = "".join(line[1:-1] for line in drawn(app.chart).splitlines()[1:-1])
            assert inside.strip(), style


async def test_a_long_series_is_reduced_to_the_columns_before_it_is_drawn() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        app.chart.set_series([LONG])
        await settle()
        (dataset,) = app.chart.query_one(Plot)._datasets
        assert 60 < len(dataset.x) <= 2 * 80  # type: ignore[attr-defined]


async def test_it_is_drawn_at_most_four_times_a_second_and_ends_with_the_newest() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        await settle()
        before = app.chart.drawn
        for number in range(50):
            app.chart.set_series([Series(f"s{number}", [0.0, 1.0], [0.0, 1.0])])
            await asyncio.sleep(0.01)
        await settle()
        assert app.chart.drawn - before <= 5
        assert "s49" in words(app.chart, "head")


async def test_it_is_not_drawn_while_hidden() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle()
        app.query_one(Vertical).display = False
        await pilot.pause()
        before = app.chart.drawn
        app.chart.set_series([EPOCHS])
        await settle()
        assert app.chart.drawn == before
        app.query_one(Vertical).display = True
        await settle()
        assert "val" in words(app.chart, "head")


async def test_keys_zoom_pan_and_show_everything_again() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_series([LONG])
        app.chart.focus()
        await pilot.press("plus", "plus")
        assert app.chart.view.x(app.chart.extent) == pytest.approx((51.0, 99.99), abs=0.1)
        app.chart.set_series([LONG, Series("more", [0.0, 200.0], [4.0, 4.0])])
        assert app.chart.view.x(app.chart.extent)[1] == 200.0
        await pilot.press("shift+left")
        stays = app.chart.view.x(app.chart.extent)
        app.chart.set_series([LONG, Series("more", [0.0, 300.0], [4.0, 4.0])])
        assert app.chart.view.x(app.chart.extent) == stays
        await pilot.press("shift+right", "shift+up", "shift+down", "minus")
        assert app.chart.view.y is not None
        app.chart.follow()
        assert app.chart.view.x(app.chart.extent)[1] == 300.0
        await pilot.press("0")
        assert app.chart.view == View()


async def test_the_y_range_fits_the_curves_in_view() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        falling = Series("s", [float(n) for n in range(101)], [100.0 - n for n in range(101)])
        app.chart.set_series([falling])
        app.chart._look(View(width=10.0))
        low, high = app.chart._shown_y
        assert -1 < low < 0
        assert 10 < high < 13


async def test_the_mouse_zooms_about_its_position_and_drags() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_series([LONG])
        await settle()
        canvas = app.chart.query_one(Plot).canvas
        at = canvas.region.offset + (10, 5)
        for _ in range(3):
            app.screen._forward_event(MouseScrollDown(canvas, at.x, at.y, 0, 1, 0, False, False, False, at.x, at.y))
            await pilot.pause()
        left, right = app.chart.view.x(app.chart.extent)
        assert 0 < left < 100 * 10 / 70 < right < 99.9
        await pilot.mouse_down(canvas, offset=(40, 5))
        await pilot.hover(canvas, offset=(30, 5))
        await pilot.mouse_up(canvas, offset=(30, 5))
        assert not app.chart.view.follows


@pytest.mark.parametrize("size", [(25, 24), (80, 6), (12, 3)])
async def test_a_chart_too_small_for_curves_shows_the_newest_values(size: tuple[int, int]) -> None:
    app = Demo()
    async with app.run_test(size=size) as pilot:
        app.chart.set_series([LONG, EPOCHS])
        await settle()
        assert not app.chart.query_one(Plot).display
        assert "train" in words(app.chart, "words")
        assert "val 4.2000 (epoch 100)" in words(app.chart, "words")
        app.chart.set_series([EPOCHS], sentence="better said so")
        await settle()
        assert words(app.chart, "words") == "better said so"
        await pilot.resize_terminal(80, 24)
        await settle()
        assert app.chart.query_one(Plot).display
        assert hue(1).sign in drawn(app.chart)


async def test_nothing_to_draw_is_an_empty_frame() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        app.chart.set_series([Series("train", [], []), Series("b", [], [], 1, "marked")])
        await settle()
        assert not any(0x2800 < ord(character) < 0x2900 for character in drawn(app.chart))


@pytest.mark.parametrize("y", [[4.0], [4.0, 4.0], [1e-12, 2e-12], [1e9, 2e9], [-5.0, 3.0]])
async def test_any_finite_numbers_can_be_drawn(y: list[float]) -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        app.chart.set_series([Series("s", [float(n) for n in range(len(y))], y, 1, "marked")])
        await settle()
        assert hue(1).sign in drawn(app.chart)


async def test_the_ppl_axis_writes_nats_as_ppl() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)):
        app.chart.set_series([Series("s", [0.0, 1.0], [math.log(50), math.log(5000)])])
        app.chart.set_axes(title="PPL", y_axis=PPL)
        await settle()
        from textual_hires_canvas import Canvas

        margin = app.chart.query_one("#margin-left", Canvas)
        labels = "".join("".join(line) for line in margin._buffer).split()
        assert "1,000" in labels
        assert words(app.chart, "head").startswith("PPL by epoch")


async def test_another_theme_draws_it_in_its_colours() -> None:
    app = Demo()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.set_series([LONG])
        await settle()
        app.theme = THEMES[1].name
        await settle()
        await pilot.pause()
        styles = {style for line in app.chart.query_one(Plot).canvas._styles for style in line}
        assert hue(0).light in styles
        assert hue(0).dark not in styles


def test_the_last_label_keeps_its_end_at_the_right_edge() -> None:
    ticks = XTicks(SHARE, 4)
    assert ticks.get_labels_for_ticks(ticks.get_ticks(-0.005, 1.01)) == ["0%", "20%", "40%", "60%", "80%", "100% "]
    assert ticks.get_labels_for_ticks(ticks.get_ticks(-0.005, 0.95))[-1] == "80%"
    assert ticks.get_labels_for_ticks([]) == [""]
