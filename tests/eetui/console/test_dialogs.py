"""Dialogs over a screen."""

from pathlib import Path

from textual.widgets import Input, Label

from core.errors import UsageError
from eetui.app import EetuiApp
from eetui.console.dialogs import Prompt, Question


async def test_a_prompt_keeps_what_is_wrong_and_says_why(six_runs: Path) -> None:
    answers: list[str | None] = []

    def check(text: str) -> None:
        if text == "bad":
            raise UsageError("not this one")

    bench = EetuiApp(six_runs)
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


async def test_long_texts_are_whole_on_a_narrow_screen(six_runs: Path) -> None:
    def check(text: str) -> None:
        raise UsageError("this name is taken, as one of so many runs has it already: " + "other names are free " * 3)

    bench = EetuiApp(six_runs)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        bench.push_screen(
            Question("Quitting finishes the step, saves a checkpoint and " + "waits " * 12 + "!", ("Yes",))
        )
        await pilot.pause()
        assert shown(bench).endswith("waits waits !")
        bench.push_screen(Prompt("Name?", "bad", check))
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert shown(bench).endswith("other names are free")


def shown(bench: EetuiApp) -> str:
    """Return the words of the last label of the dialog that are inside the screen."""
    label = bench.screen.query(Label).last()
    assert label.region in bench.screen.query_one(".dialog").region
    lines = [label.render_line(y).text for y in range(label.size.height)]
    assert label.size.width <= 72
    return " ".join(" ".join(lines).split())
