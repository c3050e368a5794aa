"""Hostile text in the console: every screen and dialog shows it harmless, in its place."""

import csv
import io
import json
import re
from pathlib import Path
from xml.dom import minidom

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from core.store.reader import Reader
from eetui.app import EetuiApp
from eetui.compare.screen import CompareScreen
from eetui.console.settings import DEFAULTS
from tests.eetui.driving import press, until_true
from tests.hostile import ALL, ATTACKS, harmful, poison
from tests.scripted_runs import make_database

SIZE = (140, 40)


def drawn(app: EetuiApp) -> str:
    """Return the text of the whole terminal, as it is sent to it."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def sound(pilot: Pilot[None]) -> str:
    """Check what the terminal is sent now; return it."""
    await pilot.pause()
    assert isinstance(pilot.app, EetuiApp)
    assert pilot.app.is_running
    shown = drawn(pilot.app)
    assert harmful(shown) == []
    return shown


@pytest.fixture
def hostile_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = make_database(tmp_path / "runs.db")
    for run, attack in enumerate((ALL, "[red]x[/]", "n" * 1_000_000, "\u202eevil\nline"), 1):
        poison(path, attack, run)
    return path


async def test_runs_and_its_dialogs(hostile_runs: Path) -> None:
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE) as pilot:
        await until_true(pilot, lambda: "Runs" in drawn(app) or "runs" in drawn(app))
        await sound(pilot)
        for _ in range(6):
            await press(pilot, "j")
            await sound(pilot)
        for key in ("R", "t", "#", "e", "d", "i", "y", "p", "question_mark"):
            await press(pilot, key)
            await sound(pilot)
            await press(pilot, "escape")
            await sound(pilot)


@pytest.mark.parametrize("screen", ["live", "compare", "inspect", "generate"])
async def test_other_screens(screen: str, hostile_runs: Path) -> None:
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE) as pilot:
        for run in (1, 2, 3, 4):
            app.open(screen, run)
            await pilot.pause()
            await sound(pilot)
            for key in ("1", "2", "3", "4", "l", "t", "w", "j"):
                if screen == "compare" or (screen == "live" and key in "lt"):
                    await press(pilot, key)
                    await sound(pilot)
            app.pop_screen()
            await sound(pilot)


async def test_messages_are_no_markup(hostile_runs: Path) -> None:
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE) as pilot:
        for attack in ATTACKS:
            app.notify(attack, markup=False)
        await pilot.pause(0.1)
        await sound(pilot)


def assert_harmless(exported: Path) -> None:
    """Check that a file does nothing where it is printed or rendered; exact CSV, where a spreadsheet opens it."""
    with exported.open(newline="", encoding="utf-8") as file:
        text = file.read()
    assert exported.suffix == ".csv" or harmful(text) == []
    match exported.suffix:
        case ".csv":
            csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # of the whole process
            cells = [cell for line in csv.reader(io.StringIO(text, newline="")) for cell in line]
            numbers = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?")
            assert not [cell for cell in cells if cell[:1] in tuple("=+-@") and not numbers.fullmatch(cell)]
        case ".json":
            assert text.isascii()
            assert json.loads(text)
        case ".md":
            assert "<b>" not in text
            assert "[x](y)" not in text
        case ".svg":
            minidom.parseString(text)  # well-formed, so that no text of it is an element


@pytest.mark.parametrize("kind", ["md", "csv", "json"])
async def test_an_exported_list_is_harmless(kind: str, hostile_runs: Path) -> None:
    poison(hostile_runs, "=1+1", 2)
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "e")
        next(button for button in app.screen.query(Button) if button.name == kind).press()
        await until_true(pilot, lambda: Path(f"eetui-exports/runs.{kind}").exists())
        await sound(pilot)
    assert_harmless(Path(f"eetui-exports/runs.{kind}"))


async def test_every_export_of_a_comparison_is_harmless(hostile_runs: Path) -> None:
    poison(hostile_runs, "=1+1", 2)
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE) as pilot:
        app.open("compare", 2)
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await until_true(pilot, lambda: screen.comparison is not None)
        for key in ("1", "3"):
            await press(pilot, key)
            for kind in ("md", "csv", "json", "svg"):
                screen._export(kind)
        await sound(pilot)
    exported = list(Path("eetui-exports").iterdir())
    assert len(exported) == 8
    for one in exported:
        assert_harmless(one)


async def test_an_export_of_the_list_is_exact(hostile_runs: Path) -> None:
    app = EetuiApp(hostile_runs, DEFAULTS)
    async with app.run_test(size=SIZE):
        with app.reader.exactly() as reader, Reader(hostile_runs) as plain:
            assert reader.runs() == plain.runs()
        assert app.reader.runs() != plain_names(hostile_runs)


def plain_names(path: Path) -> list[dict[str, object]]:
    with Reader(path) as reader:
        return reader.runs()
