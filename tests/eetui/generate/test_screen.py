"""The Generate screen."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.session.run import run_experiment
from core.store.files import checkpoint_folder
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.drawing.flowing_text import FlowingText
from eetui.generate.screen import GenerateScreen
from tests.scripted_runs import make_database, tiny_request
from tests.trained_run import train_run


@pytest.fixture(scope="module")
def database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny run, number 1."""
    path = tmp_path_factory.mktemp("generate") / "runs.db"
    with Writer(path) as store:
        run_experiment(tiny_request(text, "loss", exited_state="copy")(store), store, lambda run, events: None)
    return path


@pytest.fixture(scope="module")
def deep_database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of three blocks with a window longer than a text, number 1."""
    path = tmp_path_factory.mktemp("deep") / "runs.db"
    train_run(path, text, seq_len=16, block_layers=(1, 1, 1))
    return path


async def opened(pilot: Pilot[None]) -> GenerateScreen:
    screen = GenerateScreen(1)
    await pilot.app.push_screen(screen)
    await pilot.pause()
    return screen


async def write(pilot: Pilot[None], screen: GenerateScreen, prompt: str, **options: str) -> None:
    for name, value in (options | {"prompt": prompt}).items():
        screen.query_one(f"#{name}", Input).value = value
    await pilot.press("enter")
    await pilot.pause()


def figures(screen: GenerateScreen) -> str:
    return str(screen.query_one("#figures", Static).content)


def text_of(screen: GenerateScreen) -> str:
    return screen.query_one(FlowingText).text


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_a_prompt_is_continued_with_as_many_tokens_as_asked_for(database: Path, size: tuple[int, int]) -> None:
    async with EetuiApp(database).run_test(size=size) as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1 w2", max_tokens="7")
        await screen.workers.wait_for_complete()
        await pilot.pause(0.3)
        text = text_of(screen)
        assert text.startswith("w1 w2 ")
        assert len(text.split()) == 9
        assert "block 0" in figures(screen)
        assert "tokens/s" in figures(screen)


async def test_a_key_stops_generation(database: Path) -> None:
    async with EetuiApp(database).run_test() as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1", max_tokens="1000000")
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(text_of(screen).split()) > 5:
                break
        await pilot.press("ctrl+s")
        await pilot.pause(0.3)
        before = text_of(screen)
        await pilot.pause(0.3)
        assert text_of(screen) == before
        assert 5 < len(before.split()) < 1_000_000


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (" ", {}, "write the beginning"),
        ("w1", {"temperature": "hot"}, "temperature must be a number"),
        ("w1", {"top_k": "1.5"}, "top k must be a whole number"),
        ("w1", {"top_p": "2"}, "--top-p must be"),
    ],
)
async def test_invalid_input_gets_a_message_and_generates_nothing(
    database: Path, prompt: str, options: dict[str, str], message: str
) -> None:
    async with EetuiApp(database).run_test() as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, prompt, **options)
        assert [note.message for note in pilot.app._notifications if message in note.message]
        assert not text_of(screen)


@pytest.mark.parametrize("keys", [("w",), ("enter", "w"), ("i", "w")], ids=["runs", "live", "inspect"])
async def test_a_key_opens_it_from_every_screen_that_shows_a_run(database: Path, keys: tuple[str, ...]) -> None:
    async with EetuiApp(database).run_test() as pilot:
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert isinstance(pilot.app.screen, GenerateScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, GenerateScreen)


@pytest.mark.parametrize(("keys", "message"), [(("end", "w"), "weights are not in"), (("w",), "is queued: only a")])
async def test_without_weights_there_is_a_message_and_no_screen(
    tmp_path: Path, keys: tuple[str, ...], message: str
) -> None:
    path = make_database(tmp_path / "runs.db")
    checkpoint_folder(path, 1).mkdir(parents=True)  # its files are gone
    async with EetuiApp(path).run_test() as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        assert [note for note in pilot.app._notifications if message in note.message]
        assert not isinstance(pilot.app.screen, GenerateScreen)


async def test_leaving_the_screen_ends_generation(database: Path) -> None:
    async with EetuiApp(database).run_test() as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1", max_tokens="1000000")
        while len(screen._pieces) < 5:
            await asyncio.sleep(0.05)
        (worker,) = screen.workers
        await pilot.press("escape")
        await pilot.pause()
        assert worker.is_cancelled
        await pilot.pause(0.2)
        count = len(screen._pieces)
        await pilot.pause(0.3)
        assert len(screen._pieces) == count


async def test_a_long_text_wraps_and_follows_the_width_and_the_theme(database: Path) -> None:
    async with EetuiApp(database).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1 w2", max_tokens="300")
        await screen.workers.wait_for_complete()
        await pilot.pause(0.3)
        text = screen.query_one(FlowingText)
        words, narrow = text.text.split(), text.virtual_size.height
        assert len(words) == 302
        assert text.scroll_offset.y == text.max_scroll_y > 0
        await pilot.resize_terminal(160, 50)
        await pilot.pause(0.2)
        assert text.text.split() == words
        assert text.virtual_size.height < narrow
        before = text.render_line(0)
        await pilot.press("ctrl+t")
        await pilot.pause(0.2)
        assert text.render_line(0) != before


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_speculation_marks_accepted_and_rejected_drafts_and_times_them(
    deep_database: Path, size: tuple[int, int]
) -> None:
    async with EetuiApp(deep_database).run_test(size=size) as pilot:
        screen = await opened(pilot)
        assert not screen.query_one("#draft", Input).display
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert screen.query_one("#draft", Input).display
        await write(pilot, screen, "w1 w2", max_tokens="9", temperature="0", exit="1", draft="3")
        await screen.workers.wait_for_complete()
        await pilot.pause(0.3)
        passes = screen._passes
        assert sum(len(one.pieces) for one in passes) == 9
        rejected = sum(bool(one.rejected) for one in passes)
        shown = " ".join(text_of(screen).split())
        assert shown.count("[-") == rejected > 0
        said = " ".join(figures(screen).split())
        accepted = sum(one.verified.accepted for one in passes)
        assert f"block 1 {accepted} accepted" in said
        assert f"block 2 {9 - accepted} itself" in said
        for words in ("tokens a pass", "by exit: 0 ", "95% interval", "Speculation "):
            assert words in said
        await pilot.press("ctrl+o")
        await write(pilot, screen, "w1 w2", max_tokens="9", temperature="0")
        await screen.workers.wait_for_complete()
        await pilot.pause(0.3)
        assert "[-" not in text_of(screen)
        assert "layers saved" in figures(screen)


async def test_what_can_not_be_drafted_gets_a_message(database: Path) -> None:
    async with EetuiApp(database).run_test() as pilot:
        screen = await opened(pilot)
        await pilot.press("ctrl+o")
        for field, text, message in (("exit", "5", "--exit must be a block"), ("draft", "x", "drafts must be a whole")):
            await write(pilot, screen, "w1", **{field: text})
            await screen.workers.wait_for_complete()
            await pilot.pause()
            assert [note.message for note in pilot.app._notifications if message in note.message]
        assert not screen._passes


def test_the_screen_and_its_options_do_not_wait_for_torch() -> None:
    modules = "eetui.generate.screen, core.early_exit.sampling as s"
    code = f"import sys, {modules}; s.DEFAULTS.check(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
