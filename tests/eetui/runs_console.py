"""Driving the list of runs: a console that only notes where it was sent, and what can be read from its screen."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

import eetui.app
from core.store.reader import Reader
from eetui.app import EetuiApp
from eetui.runs.preview import RunPreview
from eetui.runs.table import RunsTable


class Opened(EetuiApp):
    """A console that only notes which other screens were asked for, and what was copied."""

    CSS_PATH = Path(eetui.app.__file__).with_name("eetui.tcss")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[tuple[str, object]] = []

    def open(self, screen: str, *runs: int) -> None:
        self.asked.append((screen, list(runs) if screen == "compare" else runs[0]))

    def resume_runs(self, runs: Any) -> None:
        self.asked.append(("resume", list(runs)))

    def copy(self, text: str) -> None:
        self.asked.append(("copy", text))


def table(bench: EetuiApp) -> RunsTable:
    return bench.screen_stack[1].query_one(RunsTable)


def shown(bench: EetuiApp) -> list[int]:
    pages = table(bench).pages
    return [row["id"] for row in map(pages.row, range(pages.count)) if row]


def text_of(bench: EetuiApp, selector: str) -> str:
    return str(bench.screen_stack[1].query_one(selector, Static).render())


def lines(bench: EetuiApp) -> list[str]:
    widget = table(bench)
    return [widget.render_line(y).text for y in range(widget.size.height)]


def messages(bench: EetuiApp) -> list[str]:
    return [notification.message for notification in bench._notifications]


def status_of(database: Path, run: int) -> str:
    with Reader(database) as reader:
        return str(reader.run(run)["status"])


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()
    await pilot.pause()


async def until_true(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    for _ in range(750):
        if condition():
            return
        await asyncio.sleep(0.02)
        await pilot.pause()
    raise AssertionError("waited for too long")


def preview_text(bench: EetuiApp) -> str:
    drawn = bench.screen_stack[1].query_one(RunPreview).query_one(Static)
    return "\n".join(strip.text for strip in drawn.render_lines(drawn.size.region))
