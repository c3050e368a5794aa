"""A console that only notes where it was sent, and what can be read from its list of runs."""

from pathlib import Path
from typing import Any

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


def status_of(database: Path, run: int) -> str:
    with Reader(database) as reader:
        return str(reader.run(run)["status"])


def preview_text(bench: EetuiApp) -> str:
    drawn = bench.screen_stack[1].query_one(RunPreview).query_one(Static)
    return "\n".join(strip.text for strip in drawn.render_lines(drawn.size.region))
