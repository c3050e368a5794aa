"""What all screens have in common."""

from pathlib import Path

import pytest

from eetui.app import EetuiApp
from eetui.runs.screen import RunsScreen


async def test_a_screen_whose_parts_are_gone_is_not_asked_to_draw(
    six_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a screen that closes loses them one by one while the console goes on looking for news."""
    bench = EetuiApp(six_runs)
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
