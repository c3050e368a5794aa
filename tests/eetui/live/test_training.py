"""A real training, watched from its beginning to its end."""

from pathlib import Path

from core.events import RunStarted
from eetui.app import EetuiApp
from eetui.console.dialogs import Question
from eetui.console.settings import Settings
from eetui.live.keys import INTERRUPT
from eetui.live.screen import LiveScreen
from eetui.live.stage_view import Picture, StageView
from tests.eetui.driving import until_true
from tests.eetui.live.watched import shown, timeline, words
from tests.scripted_runs import tiny_plan

# A real training, end to end


async def test_a_training_is_watched_paused_and_cancelled(database: Path, text: Path) -> None:
    plan = tiny_plan(text, "loss", "softmax", max_epochs=2000, patience=2000)
    bench = EetuiApp(database, Settings(bell=False))
    async with bench.run_test(size=(100, 40)) as pilot:
        bench.train(plan)
        await until_true(pilot, lambda: bench.trainer.snapshot.run)
        bench.open("live", 1)
        await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen) and bench.screen.query(StageView))
        screen = bench.screen
        assert isinstance(screen, LiveScreen)
        await until_true(pilot, lambda: screen.watching.following.curves)
        await pilot.pause()
        assert words(screen, "title").startswith("▶ training  loss-1")
        assert words(screen, "line").startswith("next: softmax-2")
        assert "MiB now" in words(screen, "facts")
        await pilot.press("p")
        await until_true(pilot, lambda: words(screen, "title").startswith("‖ paused"))
        assert "‖ paused  block0.lm" in timeline(screen)[0]
        await pilot.pause(0.4)
        held = len(screen.watching.following.curves["block0.lm"])
        await pilot.pause(0.4)
        assert len(screen.watching.following.curves["block0.lm"]) == held
        await pilot.press("space")
        await until_true(pilot, lambda: len(screen.watching.following.curves["block0.lm"]) > held)
        await pilot.press("x")
        await until_true(pilot, lambda: isinstance(bench.screen, Question))
        await pilot.click("Button")
        await until_true(pilot, lambda: words(screen, "title").startswith("■ interrupted"))
        assert INTERRUPT == "Interrupt it"
        await pilot.press("r")
        await until_true(pilot, lambda: words(screen, "line").startswith("1 to be prepared"))
        bench.trainer.stop()
        await until_true(pilot, lambda: bench.trainer.snapshot.phase == "idle")


async def test_a_training_is_watched_to_its_end(database: Path, text: Path) -> None:
    bench = EetuiApp(database, Settings(bell=False))
    async with bench.run_test(size=(80, 24)) as pilot:
        bench.train(tiny_plan(text, "loss"))
        await until_true(pilot, lambda: bench.reader.runs())
        bench.open("live", 1)
        await until_true(pilot, lambda: isinstance(bench.screen, LiveScreen) and bench.screen.query(StageView))
        screen = bench.screen
        assert isinstance(screen, LiveScreen)
        await until_true(pilot, lambda: words(screen, "title").startswith("✓ finished"))
        assert all("✓ done" in line for line in timeline(screen))
        await until_true(pilot, lambda: "early exit" in shown(screen.query_one(Picture)))
        assert isinstance(screen.watching.following.state.started, RunStarted)
        await pilot.press("escape")
        await until_true(pilot, lambda: bench.screen is not screen)
