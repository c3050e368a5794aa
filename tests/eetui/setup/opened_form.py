"""The console with the form open, and access to what it shows."""

from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from eetui.app import EetuiApp
from eetui.setup.form import FieldRow, Form
from eetui.setup.screen import NewScreen
from tests.eetui.driving import until_true


@asynccontextmanager
async def new_screen(bench: EetuiApp, size: tuple[int, int] = (80, 24)) -> Any:
    """Run the console and open the form by key."""
    async with bench.run_test(size=size) as pilot:
        bench.animation_level = "none"
        await pilot.press("n")
        await until_true(pilot, lambda: is_open(bench))
        yield pilot


def is_open(bench: EetuiApp) -> bool:
    return isinstance(bench.screen, NewScreen) and any(form.complete for form in bench.screen.query(Form))


def screen_of(bench: EetuiApp) -> NewScreen:
    assert isinstance(bench.screen, NewScreen)
    return bench.screen


def row(bench: EetuiApp, name: str) -> FieldRow:
    return screen_of(bench).form.rows[name]


def focused(bench: EetuiApp) -> str:
    found = screen_of(bench).form.focused_row
    return found.field.name if found else ""


def shown(bench: EetuiApp, selector: str) -> str:
    return str(screen_of(bench).query_one(selector, Static).content)


async def write(pilot: Pilot[None], bench: EetuiApp, name: str, text: str) -> None:
    """Go to a field and replace its text."""
    screen_of(bench).form.go_to(name)
    await pilot.pause()
    await pilot.press("end", "ctrl+u", *("space" if character == " " else character for character in text))
    await pilot.pause()
