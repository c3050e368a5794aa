"""Questions over a screen."""

from pathlib import Path

from textual.widgets import Input

from core.errors import UsageError
from eetui.app import EetuiApp
from eetui.console.dialogs import Prompt


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
