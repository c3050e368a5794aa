"""The app: start, notifications, and quitting."""

import asyncio
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from core.errors import ConfigError, StoreError
from core.events import RunFailed, RunFinished
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import LEAVE, SCREENS, STAY, EetuiApp
from eetui.console.dialogs import Question
from eetui.console.screen import BenchScreen
from eetui.console.settings import Settings
from eetui.live.screen import LiveScreen
from eetui.runs.screen import RunsScreen
from tests.eetui.driving import messages, until_true
from tests.scripted_runs import add, append, many_runs, scripted, tiny_request, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(six_runs: Path) -> Path:
    return six_runs


def statuses(database: Path) -> list[str]:
    with Reader(database) as reader:
        return [row["status"] for row in reader.runs()]


async def test_it_opens_on_the_runs_and_creates_a_missing_database(tmp_path: Path) -> None:
    bench = EetuiApp(tmp_path / "new.db")
    async with bench.run_test() as pilot:
        await pilot.pause()
        assert isinstance(bench.screen, RunsScreen)
    assert (tmp_path / "new.db").exists()


async def test_a_screen_that_loses_its_widgets_is_not_updated(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, seen = EetuiApp(database), list[bool]()
    close_all = bench._close_all

    async def look_while_closing() -> None:
        screen = bench.screen
        assert isinstance(screen, BenchScreen)
        seen.append(screen.ready)
        await screen.query("Static").remove()
        bench._seen = None
        bench.look_for_news()
        await close_all()

    monkeypatch.setattr(bench, "_close_all", look_while_closing)
    async with bench.run_test() as pilot:
        bench.open("generate", 1)
        await pilot.pause()
        assert isinstance(bench.screen, BenchScreen)
        below = bench.screen_stack[-2]
        assert isinstance(below, BenchScreen)
        assert bench.screen.ready
        assert below.ready
        left = bench.screen
        await pilot.press("escape")
        await pilot.pause()
        assert not left.ready
        bench.open("generate", 1)
        await pilot.pause()
    assert seen == [False]


def test_the_first_frame_imports_neither_torch_nor_other_slow_modules(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from eetui.app import EetuiApp

async def main():
    bench = EetuiApp(Path(sys.argv[1]))
    async with bench.run_test() as pilot:
        await pilot.pause()
    slow = {"torch", "numpy", "sqlite_utils", "pydantic", "textual_plot", "pandas"} & set(sys.modules)
    assert not slow, slow

asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(many_runs(tmp_path / "runs.db", 200))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SCREENS)
def test_every_screen_opened_by_name_has_a_valid_import_path(name: str) -> None:
    assert issubclass(resolve_name(SCREENS[name]), BenchScreen)


async def test_quitting_while_nothing_trains_asks_nothing(database: Path) -> None:
    bench = EetuiApp(database)
    async with bench.run_test() as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert bench.return_code == 0


async def test_quitting_while_training_asks_and_staying_goes_on(database: Path, text: Path) -> None:
    bench = EetuiApp(database, request=tiny_request(text, "loss", max_epochs=2000, patience=2000))
    async with bench.run_test() as pilot:
        await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen))
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(bench.screen, Question)
        assert bench.focused is not None
        assert bench.focused.name == STAY
        await pilot.press("enter")
        await pilot.pause()
        assert bench.trainer.snapshot.phase == "training"


async def test_leaving_finishes_the_step_and_marks_what_trains_and_waits_interrupted(
    database: Path, text: Path
) -> None:
    bench = EetuiApp(database, request=tiny_request(text, "loss", "softmax", max_epochs=2000, patience=2000))
    async with bench.run_test() as pilot:
        await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen))
        await pilot.press("q")
        await pilot.pause()
        await pilot.press("left")
        assert bench.focused is not None
        assert bench.focused.name == LEAVE
        await pilot.press("enter")
        await until_true(pilot, lambda: bench.trainer.snapshot.phase == "idle")
    assert statuses(database)[-2:] == ["interrupted", "interrupted"]
    assert list(database.parent.glob("runs.db.checkpoints/*/*")), "no checkpoint was written"


async def test_an_exception_in_a_screen_stops_the_training_too(
    database: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = EetuiApp(database, request=tiny_request(text, "loss", max_epochs=2000, patience=2000))

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- it is raised when the console ends
        async with bench.run_test() as pilot:
            await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen))
            monkeypatch.setattr(bench.screen, "update", broken)
            await asyncio.sleep(1)

    assert statuses(database)[-1] == "interrupted"


async def test_a_training_error_is_on_the_run_with_its_traceback_and_the_console_goes_on(
    database: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.session import run as session

    def broken(*arguments: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(session, "train", broken)
    bench = EetuiApp(database, request=tiny_request(text, "loss"))
    async with bench.run_test() as pilot:
        await until_true(pilot, lambda: statuses(database)[-1] == "failed")
        await pilot.pause()
        assert bench.is_running
    with Reader(database) as reader:
        assert "ZeroDivisionError: a bug" in (reader.state(7).traceback or "")


async def test_an_experiment_that_cannot_start_says_why(database: Path, text: Path) -> None:
    bench = EetuiApp(database, request=tiny_request(text.with_name("missing.txt"), "loss"))
    async with bench.run_test() as pilot:
        await until_true(pilot, lambda: any("missing.txt" in message for message in messages(bench)))


async def test_the_end_of_a_run_of_any_process_is_notified_with_a_bell(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    with Writer(database) as writer:
        half = until(scripted(), "block0.lm", 1)
        run = add(writer, half, name="elsewhere")
        bench = EetuiApp(database)
        monkeypatch.setattr(bench, "bell", lambda: rung.append(1))
        async with bench.run_test() as pilot:
            await until_true(pilot, lambda: run in bench._live)
            append(writer, run, [RunFinished(3.0, 1)], before=half)
            await until_true(pilot, lambda: any("elsewhere finished" in message for message in messages(bench)))
    assert rung


async def test_the_bell_can_be_turned_off(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer(database) as writer:
        half = until(scripted(), "block0.lm", 1)
        run = add(writer, half, name="elsewhere")
        bench = EetuiApp(database, Settings(bell=False))
        monkeypatch.setattr(bench, "bell", lambda: pytest.fail("it rang"))
        async with bench.run_test() as pilot:
            await until_true(pilot, lambda: run in bench._live)
            append(writer, run, [RunFailed("no", "", 3.0)], before=half)
            await until_true(pilot, lambda: any("elsewhere failed: no" in message for message in messages(bench)))


def test_an_unknown_theme_is_refused_with_the_names_there_are(database: Path) -> None:
    with pytest.raises(ConfigError, match=r"theme must be one of .*eetui-dark.*, got 'pink'"):
        EetuiApp(database, Settings(theme="pink"))


async def test_the_database_is_closed_when_the_console_ends(database: Path) -> None:
    bench = EetuiApp(database)
    async with bench.run_test():
        pass
    with pytest.raises(StoreError, match="is closed"):
        bench.reader.live()
