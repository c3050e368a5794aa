"""Figures that screens offer: the screen's own data, drawn for a paper by keys alone, with the numbers beside them."""

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.settings import Settings
from eetui.figures import render
from eetui.figures.of_screens import FIGURES
from eetui.sweeps.screen import SweepsScreen
from tests.eetui.driving import messages, press, until_true
from tests.scripted_runs import keep_sweep, keep_tokens, make_database

pytest.importorskip("matplotlib")


@pytest.fixture
def runs(database: Path) -> Path:
    path = make_database(database)
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    return path


@asynccontextmanager
async def console(database: Path, *keys: str) -> AsyncIterator[Pilot[None]]:
    async with EetuiApp(database, Settings(bell=False)).run_test(size=(80, 24)) as pilot:
        for key in keys:
            await press(pilot, key)
        yield pilot


async def choose(pilot: Pilot[None], *answers: str) -> None:
    """Go to an answer of each question in turn with the arrow keys, and give it."""
    for answer in answers:
        await until_true(pilot, lambda answer=answer: answer in names(pilot))  # type: ignore[misc]
        while getattr(pilot.app.focused, "name", None) != answer:
            await press(pilot, "left")
        await press(pilot, "enter")


def names(pilot: Pilot[None]) -> list[str | None]:
    return [button.name for button in pilot.app.screen.query(Button)]


async def exported(pilot: Pilot[None], name: str) -> list[dict[str, str]]:
    """Wait for a figure, and return its numbers."""
    bench = pilot.app
    assert isinstance(bench, EetuiApp)
    path = Path("eetui-exports", name).resolve()
    await until_true(pilot, lambda: any(str(path) in message for message in messages(bench)))
    assert path.stat().st_size > 1000
    with path.with_suffix(".csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("view", "head"), [("curves", "epoch"), ("savings", "savings")])
async def test_compare_draws_its_curves_and_its_savings(view: str, head: str, runs: Path) -> None:
    key = {"curves": "4", "savings": "5"}[view]
    async with console(runs, "end", "space", "up", "c", key, "e") as pilot:
        await choose(pilot, "figure", "pdf")
        rows = await exported(pilot, f"{view}.pdf")
    assert rows[0]["run"] == "loss-1"
    assert rows[0][head]


async def test_compare_offers_no_figure_of_its_tables(runs: Path) -> None:
    async with console(runs, "end", "c", "e") as pilot:
        assert names(pilot) == ["svg", "json", "csv", "md"]


@pytest.mark.parametrize(
    ("answer", "stem"),
    [("text", "tokens-loss-1"), ("curve", "savings"), ("where", "waterfall-loss-1"), ("signal", "reliability-loss-1")],
)
async def test_inspect_draws_figures_of_its_run(answer: str, stem: str, runs: Path) -> None:
    async with console(runs, "end", "i", "e") as pilot:
        await choose(pilot, answer, "svg")
        assert await exported(pilot, f"{stem}.svg")


async def test_a_second_figure_of_a_name_is_numbered(runs: Path) -> None:
    Path("eetui-exports").mkdir()
    Path("eetui-exports", "Curves-2.csv").symlink_to("nowhere")
    async with console(runs, "end", "c", "4") as pilot:
        for name in ("curves.svg", "curves-3.svg"):
            await press(pilot, "e")
            await choose(pilot, "figure", "svg")
            await exported(pilot, name)


async def test_a_sweep_draws_heat_and_front_and_writes_its_other_tables(database: Path) -> None:
    keep_sweep(database, "night")
    async with console(database, "W") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, SweepsScreen)
        for key, view in (("2", "heat"), ("3", "front")):
            await press(pilot, key)
            await until_true(pilot, lambda view=view: screen.found and screen.found.wanted.view == view)  # type: ignore[misc]
            await press(pilot, "e")
            await choose(pilot, "svg")
            assert await exported(pilot, f"{view}-night.svg")
        await press(pilot, "1")
        await until_true(pilot, lambda: screen.found is not None and screen.found.wanted.view == "cells")
        await press(pilot, "e")
        assert len(Path("eetui-exports/sweep-night-cells.csv").read_text().splitlines()) == 7


async def test_without_matplotlib_it_says_what_to_install(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        from core.errors import UsageError

        raise UsageError("figures need matplotlib: pip install 'eetui[plot]'")

    monkeypatch.setattr(render, "require_matplotlib", missing)
    async with console(runs, "end", "c", "4", "e") as pilot:
        await choose(pilot, "figure", "svg")
        bench = pilot.app
        assert isinstance(bench, EetuiApp)
        await until_true(pilot, lambda: any("eetui[plot]" in message for message in messages(bench)))
    assert not Path("eetui-exports").exists()


def test_every_figure_that_a_screen_asks_for_is_there() -> None:
    assert set(FIGURES) == {
        "curves", "savings", "savings_of_run", "tokens", "reliability", "waterfall", "heat", "front",
    }  # fmt: skip
