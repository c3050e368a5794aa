"""The screen on which a run writes."""

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.session import run_experiment
from core.store.writer import Writer
from eetui.app import Bench
from eetui.screens.generate import GenerateScreen
from tests.eetui.console import tiny_request


@pytest.fixture(scope="module")
def database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that has finished, number 1."""
    path = tmp_path_factory.mktemp("generate") / "runs.db"
    with Writer(path) as store:
        run_experiment(tiny_request(text, "loss", exited_state="copy")(store), store, lambda run, events: None)
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


def shown(screen: GenerateScreen, place: str) -> str:
    return str(screen.query_one(place, Static).content)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_a_prompt_is_continued_with_as_many_tokens_as_asked_for(database: Path, size: tuple[int, int]) -> None:
    async with Bench(database).run_test(size=size) as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1 w2", max_tokens="7")
        await screen.workers.wait_for_complete()
        await pilot.pause(0.3)
        text = shown(screen, "#text")
        assert text.startswith("w1 w2 ")
        assert len(text.split()) == 9
        assert "block 0" in shown(screen, "#figures")
        assert "tokens/s" in shown(screen, "#figures")


async def test_a_key_stops_the_writing(database: Path) -> None:
    async with Bench(database).run_test() as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, "w1", max_tokens="1000000")
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(shown(screen, "#text").split()) > 5:
                break
        await pilot.press("ctrl+s")
        await pilot.pause(0.3)
        before = shown(screen, "#text")
        await pilot.pause(0.3)
        assert shown(screen, "#text") == before
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
async def test_what_can_not_be_is_said(database: Path, prompt: str, options: dict[str, str], message: str) -> None:
    async with Bench(database).run_test() as pilot:
        screen = await opened(pilot)
        await write(pilot, screen, prompt, **options)
        assert [note.message for note in pilot.app._notifications if message in note.message]
        assert not shown(screen, "#text")
