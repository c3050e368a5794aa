"""The Machine screen in an app: it reads while it is looked at, and not otherwise."""

import os
from pathlib import Path

import pytest

from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.machine import screen as module
from eetui.machine.screen import MachineScreen
from tests.eetui.driving import press, screen_text, until_true
from tests.eetui.machine.fake_reading import FakeMeter
from tests.scripted_runs import add, scripted, until


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> FakeMeter:
    fake = FakeMeter()
    monkeypatch.setattr(module, "Meter", lambda: fake)
    monkeypatch.setattr(module, "SECONDS", 0.05)
    return fake


async def test_a_key_opens_it_and_it_shows_every_pane(six_runs: Path, meter: FakeMeter) -> None:
    bench = EetuiApp(six_runs)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "U")
        screen = bench.screen
        assert isinstance(screen, MachineScreen)
        await until_true(pilot, lambda: "CPU  4 cores" in screen_text(bench))
        for words in ("Memory", "NVIDIA H100", "Processes", "database", "checkpoints", "caches", "blender"):
            assert words in screen_text(bench)
        await press(pilot, "end")
        await until_true(pilot, lambda: "another process" in screen_text(bench))
        await press(pilot, "U")
        assert bench.screen is screen
        await press(pilot, "escape")
        assert bench.screen is not screen


async def test_it_reads_while_it_is_in_view_only(six_runs: Path, meter: FakeMeter) -> None:
    bench = EetuiApp(six_runs)
    async with bench.run_test() as pilot:
        await pilot.pause(0.2)
        assert meter.taken == 0
        await press(pilot, "U")
        await until_true(pilot, lambda: meter.taken >= 3)
        await press(pilot, "question_mark")
        await pilot.pause(0.1)
        before = meter.taken
        await pilot.pause(0.3)
        assert meter.taken == before
        await press(pilot, "escape")
        await until_true(pilot, lambda: meter.taken > before)
        await press(pilot, "escape")
        await pilot.pause(0.1)
        before = meter.taken
        await pilot.pause(0.3)
        assert meter.taken == before


async def test_processes_that_train_runs_of_the_database_are_named(database: Path, meter: FakeMeter) -> None:
    with Writer(database) as writer:
        add(writer, until(scripted(), "block0.lm", 1), name="night")
        bench = EetuiApp(database)
        async with bench.run_test(size=(100, 30)) as pilot:
            await press(pilot, "U")
            await until_true(pilot, lambda: "this console, trains night" in screen_text(bench))
            assert os.getpid() not in meter.pids
