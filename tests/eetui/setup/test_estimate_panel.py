"""The estimate panel: when it measures, and what it shows."""

from pathlib import Path

import pytest

from core.errors import CorpusError
from core.session.plan import Plan
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.setup import estimate_panel
from eetui.setup.estimate_panel import EstimatePanel
from tests.eetui.driving import until_true
from tests.eetui.setup.fake_estimator import ESTIMATE, FakeEstimating
from tests.eetui.setup.opened_form import new_screen, screen_of, shown, write
from tests.scripted_runs import add, scripted, until


async def test_the_estimate_follows_the_last_change(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        assert "65,536 + 12,288 tokens" in shown(bench, ".lines")
        assert len(fake.answered) == 1
        await write(pilot, bench, "seeds", "2")
        await until_true(pilot, lambda: fake.answered[-1] == 6 and not panel.forecast.state)


async def test_a_change_of_name_or_tags_is_not_measured(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        await write(pilot, bench, "name", "mine")
        await pilot.pause(0.1)
        assert len(fake.answered) == 1


async def test_an_older_measurement_is_stopped_and_its_result_dropped(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    fake.go_on.clear()
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.state == "measuring…")
        await write(pilot, bench, "seeds", "2")
        fake.go_on.set()
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        assert fake.answered[-1] == 6


async def test_a_form_with_errors_is_not_measured(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        await write(pilot, bench, "train.lr", "-1")
        await pilot.pause(0.1)
        assert panel.forecast.state == estimate_panel.INVALID
        assert len(fake.answered) == 1


async def test_a_path_is_not_read_while_it_is_typed(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        await write(pilot, bench, "data.corpus", "/tmp/x")
        await pilot.pause(0.1)
        assert panel.forecast.state == estimate_panel.TYPING
        assert len(fake.asked) == 1
        await pilot.press("enter")
        await until_true(pilot, lambda: len(fake.asked) == 2)
        assert fake.asked[-1].data.corpus == "/tmp/x"


async def test_a_problem_with_the_corpus_is_shown(database: Path, fake: FakeEstimating) -> None:
    fake.problem = CorpusError("corpus /tmp/x does not exist")
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await until_true(pilot, lambda: "× corpus /tmp/x does not exist" in shown(bench, ".lines"))
        assert bench.is_running


async def test_an_estimate_beside_a_training_says_so(database: Path, fake: FakeEstimating) -> None:
    with Writer(database) as writer:
        add(writer, until(scripted(), "block0.lm", 1))
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await until_true(pilot, lambda: "unreliable" in shown(bench, ".headline"))


@pytest.mark.parametrize("stale", [False, True])
async def test_a_started_plan_carries_the_estimated_speed_unless_it_is_stale(
    stale: bool, database: Path, fake: FakeEstimating, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Plan] = []
    app = EetuiApp(database)
    monkeypatch.setattr(app, "train", started.append)
    async with new_screen(app) as pilot:
        panel = screen_of(app).query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.speed)
        if stale:
            panel.forget("something was changed")
        await pilot.press("ctrl+s")
        await until_true(pilot, lambda: started)
    assert [plan.speed for plan in started] == [None if stale else ESTIMATE.speed]
