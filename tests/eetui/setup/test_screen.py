"""The New screen: opening, leaving and starting it, and an experiment trained to the end."""

import subprocess
import sys
from pathlib import Path

import pytest
from textual.widgets import Button, Input

from core.config.run_config import DEFAULT_PRESET, build, method_names, preset_layer
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.keys import active_keys
from eetui.console.queue_screen import QueueScreen
from eetui.console.training_thread import Snapshot, Trainer
from eetui.runs.screen import RunsScreen
from eetui.setup.draft import Draft
from eetui.setup.estimate_panel import EstimatePanel
from eetui.setup.fields import FIELDS, METHODS, PRESET
from eetui.setup.form import Tick
from eetui.setup.screen import NewScreen
from tests.eetui.driving import until_true
from tests.eetui.setup.fake_estimator import FakeEstimating
from tests.eetui.setup.opened_form import focused, is_open, new_screen, row, screen_of, shown, write
from tests.scripted_runs import TINY, add


# Opening
async def test_it_opens_with_the_default_preset_and_the_reports_methods(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench):
        assert focused(bench) == PRESET
        assert screen_of(bench).draft == Draft()
        assert [tick.name for tick in bench.screen.query(Tick) if tick.value] == ["distill", "loss", "softmax"]
        assert f"3 runs · preset {DEFAULT_PRESET}" in shown(bench, "#title")


async def test_every_key_has_an_id_and_says_what_it_does(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench):
        keys = {key.id: key.does for key in active_keys(bench, bench.screen)}
        wanted = {"new.start", "new.reset", "new.queue", "new.next", "new.previous", "new.section_down", "app.back"}
        assert wanted <= set(keys)
        assert all(keys.values())


# Leaving and starting


async def test_edits_are_kept_on_leaving(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "train.lr", "-1")
        await write(pilot, bench, "name", "mine")
        await pilot.press("escape")
        await until_true(pilot, lambda: isinstance(bench.screen, RunsScreen) and fake.closed)
        await pilot.press("n")
        await until_true(pilot, lambda: is_open(bench))
        assert row(bench, "train.lr").query_one(Input).value == "-1"
        assert row(bench, "train.lr").problem
        assert row(bench, "name").query_one(Input).value == "mine"


async def test_it_starts_from_another_runs_config(database: Path, fake: FakeEstimating) -> None:
    config = build([preset_layer("seed")]).model_copy(update={"method": "correct", "seed": 9})
    bench = EetuiApp(database)
    async with bench.run_test() as pilot:
        bench.push_screen(NewScreen(config, "seed"))
        await until_true(pilot, lambda: is_open(bench))
        assert screen_of(bench).draft == Draft("seed", {METHODS: ("correct",), "seed": "9"})


async def test_starting_a_form_with_errors_goes_to_the_first(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "exit.hard_ratio", "2")
        await write(pilot, bench, "train.lr", "-1")
        screen_of(bench).form.go_to(PRESET)
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert focused(bench) == "train.lr"
        assert "train.lr must be > 0, got -1" in [notice.message for notice in bench._notifications]
        assert not bench.trainer.snapshot.busy


async def test_a_name_that_is_taken_is_refused_before_anything_starts(database: Path, fake: FakeEstimating) -> None:
    with Writer(database) as writer:
        run = add(writer, [], name="mine-loss")
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "name", "mine")
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert focused(bench) == "name"
        assert f"'mine-loss' is run {run}" in row(bench, "name").problem
        assert not bench.trainer.snapshot.busy


async def test_the_queue_opens_from_here(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await pilot.press("o")
        await until_true(pilot, lambda: isinstance(bench.screen, QueueScreen))
        await pilot.press("escape")
        await until_true(pilot, lambda: isinstance(bench.screen, NewScreen))
        screen_of(bench).form.go_to("name")
        await pilot.press("o")
        assert row(bench, "name").raw == "o"
        await pilot.press("ctrl+o")
        await until_true(pilot, lambda: isinstance(bench.screen, QueueScreen))


@pytest.mark.parametrize(("size", "selector"), [((80, 24), "#queue"), ((160, 50), "#queue-list")])
async def test_the_runs_that_wait_are_shown_in_their_order(
    database: Path, fake: FakeEstimating, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], selector: str
) -> None:
    with Writer(database) as writer:
        first, second, third = (add(writer, [], name=name) for name in ("first", "second", "third"))
    bench = EetuiApp(database)
    async with new_screen(bench, size) as pilot:
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "snapshot", Snapshot("training", first, (third, second)))
            await until_true(pilot, lambda: "first" in shown(bench, selector))
        places = [shown(bench, selector).index(name) for name in ("first", "third", "second")]
        assert places == sorted(places)
        assert bench.screen.query_one(selector).region.height > 0


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (50, 14)])
async def test_it_fits_any_terminal(database: Path, fake: FakeEstimating, size: tuple[int, int]) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench, size) as pilot:
        form, start = screen_of(bench).form, bench.screen.query_one(Button)
        assert form.region.height >= 6
        assert bench.screen.region.contains_region(start.region)
        await pilot.resize_terminal(120, 30)
        await pilot.pause()
        assert form.region.width < 120


async def test_an_experiment_is_filled_in_queued_and_trained(database: Path, text: Path) -> None:
    values = {"data.corpus": str(text), "tags": "tiny", "machine.threads": "1"}
    leaves = {name.rpartition(".")[2]: name for name in FIELDS}
    values |= {leaves[leaf]: str(value).strip("()") for leaf, value in TINY.items()}
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        for name, value in values.items():
            row(bench, name).query_one(Input).value = value  # as if pasted; keys have tests of their own
        await write(pilot, bench, "name", "first")
        screen_of(bench).form.go_to(METHODS)
        await pilot.pause()
        for place, method in enumerate(method_names()):
            await pilot.press(*(["down"] if place else []), *(["space"] if method in ("distill", "softmax") else []))
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        assert panel.forecast.estimate
        assert panel.forecast.estimate.runs == 1
        await pilot.press("ctrl+s")
        await until_true(pilot, lambda: isinstance(bench.screen, RunsScreen))
        assert "1 run queued" in [notice.message for notice in bench._notifications]
        await until_true(pilot, lambda: not bench.trainer.snapshot.busy)
    with Reader(database) as reader:
        (run,) = reader.runs()
        assert (run["name"], run["method"], run["status"], run["tags"]) == ("first", "loss", "finished", "tiny")
        assert run["preset"] == DEFAULT_PRESET


def test_the_screen_imports_no_torch() -> None:
    script = "import sys, eetui.setup.screen; slow = {'torch', 'numpy'} & set(sys.modules); assert not slow, slow"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)
