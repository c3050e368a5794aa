"""Helpers to open a console on a run and to read its screen."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.widget import Widget
from textual.widgets import Static

from core.events import Event, RunFailed, RunInterrupted
from core.store.new_runs import NewRun
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.settings import Settings
from eetui.live.log_pane import LogPane
from eetui.live.screen import LiveScreen
from eetui.live.stage_view import StageView
from eetui.live.timeline import Timeline
from tests.eetui.driving import until_true
from tests.scripted_runs import RECORD, append, config, scripted, until

HALF = until(scripted(), "block0.lm", 2)
FAILURE = RunFailed("ValueError: shapes differ", 'Traceback …\n  File "x.py", line 3\nValueError: shapes differ', 3.0)
STOPPED = RunInterrupted("stopped by the user", 2.0)


def experiment(writer: Writer, *events: Sequence[Event]) -> list[int]:
    """Store runs of one experiment, each with its events."""
    text = config().model_dump_json()
    runs = writer.create_experiment([NewRun(None, "loss", seed, "quick", text, RECORD) for seed in range(len(events))])
    for run, own in zip(runs, events, strict=True):
        append(writer, run, own)
    return runs


@asynccontextmanager
async def watching(database: Path, run: int, size: tuple[int, int] = (80, 24), **options: Any) -> Any:
    """Open a console on the run; yield pilot, console and screen."""
    bench = EetuiApp(database, Settings(bell=False), **options)
    async with bench.run_test(size=size) as pilot:
        bench.push_screen(LiveScreen(run))
        await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen) and bench.screen.query(StageView))
        screen = bench.screen
        assert isinstance(screen, LiveScreen)
        await until_true(pilot, lambda: words(screen, "title"))
        await pilot.pause()
        yield pilot, bench, screen


def words(screen: LiveScreen, place: str) -> str:
    return str(screen.query_one(f".live--{place}", Static).render())


def shown(widget: Widget) -> str:
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


def timeline(screen: LiveScreen) -> list[str]:
    return str(screen.query_one(Timeline).render()).splitlines()


def log(screen: LiveScreen) -> str:
    return "\n".join(line.text.rstrip() for line in screen.query_one(LogPane).lines)


def selected(screen: LiveScreen) -> str:
    return next((line[12:30].strip() for line in timeline(screen) if line.startswith("›")), "")
