"""The console as a whole: how it starts, what works everywhere, and how it ends."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widgets import Input

from core.errors import ConfigError, UsageError
from core.events import RunFailed, RunFinished
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import LEAVE, SCREENS, STAY, EetuiApp, all_ids, check_ids
from eetui.console.dialogs import Prompt, Question
from eetui.console.help_screen import HelpScreen
from eetui.console.keys import active_keys
from eetui.console.screen import BenchScreen
from eetui.console.settings import Settings
from eetui.live.screen import LiveScreen
from eetui.runs.screen import RunsScreen
from tests.scripted_runs import add, append, make_database, many_runs, scripted, tiny_request, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return make_database(tmp_path / "runs.db")


async def until_true(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    for _ in range(1500):
        if condition():
            return
        assert pilot.app.is_running, "the console is gone"
        await asyncio.sleep(0.02)
    raise AssertionError("waited for too long")


def messages(bench: EetuiApp) -> list[str]:
    return [notification.message for notification in bench._notifications]


def statuses(database: Path) -> list[str]:
    with Reader(database) as reader:
        return [row["status"] for row in reader.runs()]


async def test_it_opens_on_the_runs_and_creates_a_missing_database(tmp_path: Path) -> None:
    bench = EetuiApp(tmp_path / "new.db")
    async with bench.run_test() as pilot:
        await pilot.pause()
        assert isinstance(bench.screen, RunsScreen)
    assert (tmp_path / "new.db").exists()


def test_the_first_frame_needs_neither_torch_nor_what_else_is_slow(tmp_path: Path) -> None:
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
def test_every_screen_that_others_open_is_where_it_is_said_to_be(name: str) -> None:
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


async def test_the_end_of_a_run_of_any_process_is_told_with_a_bell(
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


async def test_help_lists_the_keys_of_the_screen_beneath_with_their_ids(database: Path) -> None:
    bench = EetuiApp(database)
    async with bench.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(bench.screen, HelpScreen)
        ids = {key.id for key in bench.screen.keys}
        assert {"app.help", "app.quit", "app.new"} <= ids
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(bench.screen, RunsScreen)


async def test_the_palette_offers_every_action_of_the_screen(database: Path) -> None:
    bench = EetuiApp(database)
    async with bench.run_test() as pilot:
        await pilot.pause()
        offered = " ".join(command.title for command in bench.get_system_commands(bench.screen))
        for key in active_keys(bench, bench.screen):
            assert key.does in offered


async def test_a_key_can_be_remapped_in_the_settings(database: Path) -> None:
    bench = EetuiApp(database, Settings(keys={"app.theme": "f8"}))
    async with bench.run_test() as pilot:
        await pilot.pause()
        before = bench.theme
        await pilot.press("ctrl+t")
        assert bench.theme == before
        await pilot.press("f8")
        assert bench.theme != before


def test_every_binding_of_ours_has_an_id_a_tooltip_and_one_meaning() -> None:
    all_ids()  # imports them all
    meanings: dict[str, set[str]] = {}
    for node in _ours(DOMNode):
        for binding in Binding.make_bindings(node.__dict__.get("BINDINGS", ())):
            assert binding.id, f"{node.__name__}: {binding.key} has no id"
            assert binding.tooltip, f"{node.__name__}: {binding.id} has no tooltip"
            meanings.setdefault(binding.id, set()).add(binding.action)
    ambiguous = {identity: actions for identity, actions in meanings.items() if len(actions) > 1}
    assert not ambiguous


def _ours(kind: type[DOMNode]) -> list[type[DOMNode]]:
    below = [node for child in kind.__subclasses__() for node in [child, *_ours(child)]]
    return [node for node in below if node.__module__.startswith("eetui")]


def test_a_key_for_an_unknown_binding_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"keys\.app\.hlep is no binding; did you mean app\.help\?"):
        check_ids(["app.hlep"])


def test_an_unknown_theme_is_refused_with_the_names_there_are(database: Path) -> None:
    with pytest.raises(ConfigError, match=r"theme must be one of .*eetui-dark.*, got 'pink'"):
        EetuiApp(database, Settings(theme="pink"))


async def test_a_prompt_keeps_what_is_wrong_and_says_why(database: Path) -> None:
    answers: list[str | None] = []

    def check(text: str) -> None:
        if text == "bad":
            raise UsageError("not this one")

    bench = EetuiApp(database)
    async with bench.run_test() as pilot:
        await pilot.pause()
        bench.push_screen(Prompt("Name?", "bad", check), answers.append)
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert "not this one" in str(bench.screen.query_one(".problem").render())
        bench.screen.query_one(Input).value = "good"
        await pilot.press("enter")
        await pilot.pause()
    assert answers == ["good"]


async def test_a_screen_whose_parts_are_gone_is_not_asked_to_draw(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a screen that closes loses them one by one while the console goes on looking for news."""
    bench = EetuiApp(database)
    async with bench.run_test() as pilot:
        screen = bench.screen
        assert isinstance(screen, RunsScreen)
        assert screen.ready
        drawn: list[bool] = []
        monkeypatch.setattr(screen, "update", lambda: drawn.append(True))
        monkeypatch.setattr(bench, "_something_new", lambda: True)
        bench.look_for_news()
        assert drawn
        await screen.query("*").remove()
        drawn.clear()
        bench.look_for_news()
        screen.on_screen_resume()
        await pilot.pause()
        assert not screen.ready
        assert drawn == []
