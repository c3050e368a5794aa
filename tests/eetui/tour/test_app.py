"""The tour leads through five screens, changes nothing, and needs runs."""

from pathlib import Path

import pytest
from textual.widgets import Static

from core.errors import UsageError
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.settings import Settings
from eetui.inspection.diagnosis_panel import DiagnosisPanel
from eetui.tour.app import TourApp, TourPane
from eetui.tour.stops import STOPS
from tests.scripted_runs import keep_tokens


def said(bench: EetuiApp) -> str:
    return str(bench.screen.query_one(TourPane).visual)


async def test_it_leads_through_every_stop_and_back(six_runs: Path) -> None:
    before = six_runs.read_bytes()
    bench = TourApp(six_runs, Settings())
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        seen = [(type(bench.screen).__name__, said(bench))]
        for _ in STOPS:
            await pilot.press("full_stop")
            await pilot.pause()
            seen.append((type(bench.screen).__name__, said(bench)))
        await pilot.press("comma")
        await pilot.pause()
        assert "4 of 5" in said(bench)
    names = [name for name, _ in seen]
    assert names == ["RunsScreen", "LiveScreen", "CompareScreen", *["InspectScreen"] * 3]
    assert [text.split(":")[0] for _, text in seen] == [f"{n} of 5" for n in (1, 2, 3, 4, 5, 5)]
    assert six_runs.read_bytes() == before


async def test_one_can_look_around_between_two_stops(six_runs: Path) -> None:
    bench = TourApp(six_runs, Settings())
    async with bench.run_test() as pilot:
        await pilot.press("full_stop")
        await pilot.press("c")
        await pilot.press("question_mark")
        await pilot.press("full_stop")
        assert "2 of 5" not in type(bench.screen).__name__
        await pilot.press("escape")
        await pilot.press("full_stop")
        await pilot.pause()
        assert "3 of 5" in said(bench)
        assert len(bench.screen_stack) == 3


def test_without_a_finished_run_it_says_where_runs_are(tmp_path: Path) -> None:
    with Writer(tmp_path / "new.db"):
        pass
    with pytest.raises(UsageError, match=r"needs finished runs.*new\.db has none.*--preset quick"):
        TourApp(tmp_path / "new.db", Settings())


async def test_a_console_that_only_reads_says_so(six_runs: Path) -> None:
    before = six_runs.read_bytes()
    bench = EetuiApp(six_runs, read_only=True)
    async with bench.run_test() as pilot:
        for key in ("end", "d", "n"):
            await pilot.press(key)
            await pilot.pause()
        assert sum("only reads" in notice.message for notice in bench._notifications) == 1
        assert "n" not in bench.screen.active_bindings, "what is refused is not offered"
        assert len(bench.screen_stack) == 2, "no form, whose estimate would take the machine"
        assert not bench.resume_runs([1])
        assert not bench.trainer.snapshot.busy
        assert "runs.db, read only" in str(bench.screen.query_one("#title", Static).visual)
    assert six_runs.read_bytes() == before


def test_a_console_that_only_reads_creates_no_database(tmp_path: Path) -> None:
    from core.errors import StoreError

    with pytest.raises(StoreError, match="there is no database"):
        EetuiApp(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_the_stop_at_the_waterfall_shows_all_of_it(six_runs: Path, size: tuple[int, int]) -> None:
    with Writer(six_runs) as writer:
        keep_tokens(writer, 1)
    bench = TourApp(six_runs, Settings())
    async with bench.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press(*["full_stop"] * 3)
        await pilot.pause()
        panel = bench.screen.query_one(DiagnosisPanel)
        assert panel.size.height >= 12
        assert bench.screen.query_one("#figures").display == (size[1] > 24)
