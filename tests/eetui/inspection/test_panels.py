"""What Inspect shows beside the text: the diagnosis, measured while it is open, and what the signal is worth."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Static

from core.analysis import diagnose_run as diagnose
from core.analysis.diagnose_run import Diagnosed, diagnosis_steps
from core.session.run import run_experiment
from core.store.files import delete_checkpoint
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.inspection.diagnosis_panel import DiagnosisPanel
from eetui.inspection.exit_quality import ExitQualityText
from eetui.inspection.screen import InspectScreen
from tests.scripted_runs import keep_tokens, make_database, tiny_request


@pytest.fixture(scope="module")
def database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny runs that have finished; the second has lost its weights."""
    path = tmp_path_factory.mktemp("panels") / "runs.db"
    with Writer(path) as store:
        run_experiment(tiny_request(text, "loss", "softmax")(store), store, lambda run, events: None)
    delete_checkpoint(path, 2)
    return path


@asynccontextmanager
async def inspecting(database: Path, run: int = 1, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    async with EetuiApp(database).run_test(size=size) as pilot:
        await pilot.pause()
        pilot.app.open("inspect", run)  # type: ignore[attr-defined]
        await pilot.pause()
        await pilot.pause()
        yield pilot


def panel(pilot: Pilot[None]) -> DiagnosisPanel:
    return pilot.app.screen.query_one(DiagnosisPanel)


def told(pilot: Pilot[None]) -> str:
    """The diagnosis as it is on the screen, all of it."""
    console = Console(width=panel(pilot).scrollable_content_region.width, no_color=True)
    with console.capture() as capture:
        console.print(panel(pilot).query_one(Static).content)
    return capture.get()


async def diagnosed(pilot: Pilot[None]) -> None:
    await pilot.press("d")
    await panel(pilot).workers.wait_for_complete()
    await pilot.pause(0.4)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_d_opens_and_closes_the_waterfall(database: Path, size: tuple[int, int]) -> None:
    async with inspecting(database, size=size) as pilot:
        assert not panel(pilot).display
        await diagnosed(pilot)
        assert panel(pilot).region.height > 10
        for words in ("Training, early stopping", "Split gap", "Early exit, evaluation", "Beside it: block 1"):
            assert words in told(pilot)
        await pilot.press("down", "down", "pagedown")
        await pilot.pause(0.3)
        assert panel(pilot).scroll_offset.y > 0 or panel(pilot).max_scroll_y == 0
        await pilot.press("d")
        await pilot.pause()
        assert not panel(pilot).display
        assert pilot.app.screen.query_one("#text").region


async def test_what_was_found_stays_while_the_screen_is_open(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inspecting(database) as pilot:
        await diagnosed(pilot)
        found = panel(pilot).found
        monkeypatch.setattr(diagnose, "diagnosis_steps", None)
        await pilot.press("d", "d")
        await pilot.pause(0.3)
        assert panel(pilot).found is found
        assert "Split gap" in told(pilot)


async def test_a_run_without_weights_says_so_beside_all_that_needs_none(database: Path) -> None:
    async with inspecting(database, run=2) as pilot:
        await diagnosed(pilot)
        assert "Split gap" in told(pilot)
        assert "Lost context: not measured: no checkpoint: the run's weights" in told(pilot)


async def test_it_is_shown_as_it_becomes_known_and_closing_ends_it(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Reader(database) as reader:
        first, *_, last = diagnosis_steps(reader, 1)
    assert first.measuring
    assert first.hard_tokens is None
    assert not last.measuring
    taken: list[int] = []

    def endless(reader: Reader, run: int) -> Iterator[Diagnosed]:
        while True:
            taken.append(run)
            yield first

    monkeypatch.setattr(diagnose, "diagnosis_steps", endless)
    async with inspecting(database) as pilot:
        await pilot.press("d")
        await pilot.pause(0.5)
        assert "Split gap" in told(pilot)
        assert "being measured: reading the model" in told(pilot)
        await pilot.press("d")
        await panel(pilot).workers.wait_for_complete(list(panel(pilot).workers))
        count = len(taken)
        await asyncio.sleep(0.1)
        assert len(taken) == count > 1


async def test_a_run_that_can_not_be_diagnosed_says_why(tmp_path: Path) -> None:
    """Its scripted events lack what block 0 was worth in training on every window, and its checkpoint."""
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    async with inspecting(path) as pilot:
        await diagnosed(pilot)
        assert "Lost context: not measured: no checkpoint" in told(pilot)
    async with inspecting(path, run=4) as pilot:
        await pilot.press("d")
        assert not panel(pilot).display


async def test_a_view_or_a_search_closes_the_diagnosis(database: Path) -> None:
    async with inspecting(database) as pilot:
        await diagnosed(pilot)
        await pilot.press("2")
        await pilot.pause()
        assert not panel(pilot).display
        assert pilot.app.screen.query_one("#blocks").region


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_4_shows_what_the_signal_is_worth(database: Path, size: tuple[int, int]) -> None:
    async with inspecting(database, size=size) as pilot:
        await pilot.press("4")
        text = pilot.app.screen.query_one(ExitQualityText)
        await text.workers.wait_for_complete()
        await pilot.pause(0.3)
        lines = str(text.content).splitlines()
        assert lines[0].startswith("AUROC         block right 0.")
        assert lines[1].startswith("ECE (bias)    signal 0.")
        assert lines[2].startswith("Overthinking  right, then wrong ")
        assert lines[3].split()[:4] == ["tokens", "signal", "p(target)", "gap"]
        assert len(lines) > 6
        assert text.region.bottom <= pilot.app.screen.size.height - 1
        screen = pilot.app.screen
        assert isinstance(screen, InspectScreen)
        assert screen.study is not None
        assert sum(int(line.split()[0].replace(",", "")) for line in lines[4:]) == screen.study.table.tokens


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
@pytest.mark.soak
async def test_what_is_drawn_after_a_move_is_what_would_be_drawn_anew(tmp_path: Path, size: tuple[int, int]) -> None:
    """Only what changes is drawn: nothing that changes may be left out."""
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        keep_tokens(writer, 1)
    async with inspecting(path, size=size) as pilot:
        await pilot.pause(0.4)
        first = pilot.app.export_screenshot()
        for keys in (["right"] * 12, ["pagedown", "left"], ["greater_than_sign", "0", "right"]):
            await pilot.press(*keys)
            await pilot.pause(1.2)  # the chart
            moved = pilot.app.export_screenshot()
            pilot.app.refresh(layout=True)
            pilot.app.screen.query_one("#text").refresh()
            await pilot.pause(0.2)
            assert pilot.app.export_screenshot() == moved != first
