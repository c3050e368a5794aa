"""The New screen: every key, and an experiment filled in and trained to the end."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select, Static, Switch

from core.config.run_config import DEFAULT_PRESET, build, method_names, preset_layer
from core.errors import CorpusError
from core.session.plan import REPORT_METHODS
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.console.keys import active_keys
from eetui.console.queue_screen import QueueScreen
from eetui.console.training_thread import Snapshot, Trainer
from eetui.runs.screen import RunsScreen
from eetui.setup import estimate_panel
from eetui.setup.draft import Draft, preset_values
from eetui.setup.estimate_panel import EstimatePanel
from eetui.setup.fields import FIELDS, METHODS, PRESET
from eetui.setup.form import FieldRow, Form, Tick
from eetui.setup.screen import NewScreen
from tests.eetui.setup.fake_estimator import FakeEstimating
from tests.scripted_runs import TINY, add, scripted, until


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEstimating]:
    fake = FakeEstimating()
    monkeypatch.setattr(estimate_panel, "Estimator", lambda: fake)
    monkeypatch.setattr(estimate_panel, "REST_SECONDS", 0.02)
    yield fake
    fake.go_on.set()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EETUI_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "runs.db"
    with Writer(path):
        pass
    return path


@asynccontextmanager
async def new_screen(bench: EetuiApp, size: tuple[int, int] = (80, 24)) -> Any:
    """The console with the form open, as a user opens it."""
    async with bench.run_test(size=size) as pilot:
        bench.animation_level = "none"
        await pilot.press("n")
        await until_true(pilot, lambda: is_open(bench))
        yield pilot


async def until_true(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    for _ in range(1500):
        if condition():
            return
        assert pilot.app.is_running, "the console is gone"
        await asyncio.sleep(0.02)
    raise AssertionError("waited for too long")


def is_open(bench: EetuiApp) -> bool:
    return isinstance(bench.screen, NewScreen) and any(form.complete for form in bench.screen.query(Form))


def screen_of(bench: EetuiApp) -> NewScreen:
    assert isinstance(bench.screen, NewScreen)
    return bench.screen


def row(bench: EetuiApp, name: str) -> FieldRow:
    return screen_of(bench).form.rows[name]


def focused(bench: EetuiApp) -> str:
    found = screen_of(bench).form.focused_row
    return found.field.name if found else ""


def shown(bench: EetuiApp, selector: str) -> str:
    return str(screen_of(bench).query_one(selector, Static).content)


async def write(pilot: Pilot[None], bench: EetuiApp, name: str, text: str) -> None:
    """Go to a field and write over what it holds."""
    screen_of(bench).form.go_to(name)
    await pilot.pause()
    await pilot.press("end", "ctrl+u", *("space" if character == " " else character for character in text))
    await pilot.pause()


# What is there


async def test_it_opens_with_the_default_preset_and_the_reports_methods(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench):
        assert focused(bench) == PRESET
        assert screen_of(bench).draft == Draft()
        assert [tick.name for tick in bench.screen.query(Tick) if tick.value] == ["distill", "loss", "softmax"]
        assert f"3 runs · preset {DEFAULT_PRESET}" in shown(bench, "#title")


async def test_every_field_has_an_editor_of_its_kind(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench):
        kinds = {"choice": Select, "switch": Switch, "several": Tick}
        for name, field in FIELDS.items():
            assert isinstance(row(bench, name).editor, kinds.get(field.kind, Input)), name


async def test_the_focused_field_is_always_in_view_with_its_meaning(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        for name, field in FIELDS.items():
            assert focused(bench) == name
            form, editor = screen_of(bench).form, bench.screen.focused
            assert editor is not None
            assert form.region.contains_region(editor.region), name
            assert field.meaning in shown(bench, "#about"), name
            await pilot.press(*["down"] * (len(field.choices) if name == METHODS else 1))


async def test_tab_and_arrows_go_through_all_fields_to_the_button_and_back(
    database: Path, fake: FakeEstimating
) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await pilot.press("up")
        assert bench.focused is bench.screen.query_one(Button)
        await pilot.press("down")
        assert focused(bench) == PRESET
        await pilot.press("shift+tab", "up")
        assert focused(bench) == list(FIELDS)[-1]
        await pilot.press("tab", "tab")
        assert focused(bench) == PRESET


async def test_page_keys_go_from_section_to_section(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        visited = []
        for _ in range(6):
            await pilot.press("pagedown")
            visited.append(focused(bench))
        assert visited[:3] == ["data.eval_corpus", "model.dim", "train.lr"]
        assert visited[-1] == visited[-2] == "machine.device"
        await pilot.press("down", "pageup")
        assert focused(bench) == "machine.device"
        await pilot.press("pageup")
        assert focused(bench) == "exit.hard_ratio"


async def test_every_key_has_an_id_and_says_what_it_does(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench):
        keys = {key.id: key.does for key in active_keys(bench, bench.screen)}
        wanted = {"new.start", "new.reset", "new.queue", "new.next", "new.previous", "new.section_down", "app.back"}
        assert wanted <= set(keys)
        assert all(keys.values())


# Writing


async def test_a_number_is_written_marked_and_reset(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "train.lr", "0.5")
        assert screen_of(bench).draft.edits == {"train.lr": "0.5"}
        assert row(bench, "train.lr").render().plain.startswith("• lr")
        assert "1 changed" in shown(bench, "#title")
        await pilot.press("ctrl+r")
        await pilot.pause()
        assert screen_of(bench).draft == Draft()
        assert bench.screen.query_one("FieldRow:focus-within Input", Input).value == str(
            preset_values(DEFAULT_PRESET)["train.lr"]
        )
        assert row(bench, "train.lr").render().plain.startswith("  lr")


async def test_switch_choice_and_ticks_work_by_key(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        screen_of(bench).form.go_to("model.causal")
        await pilot.press("space")
        screen_of(bench).form.go_to("data.tokenizer")
        await pilot.press("enter", "down", "enter")
        screen_of(bench).form.go_to(METHODS)
        await pilot.press("space", "down", "enter")
        await pilot.pause()
        first, second, *_ = method_names()
        methods = tuple(name for name in method_names() if (name in REPORT_METHODS) != (name in (first, second)))
        expected = {"model.causal": False, "data.tokenizer": "word", METHODS: methods}
        assert screen_of(bench).draft.edits == expected
        assert row(bench, "model.causal").render().plain.split()[:3] == ["•", "causal", "off"]
        for name in expected:
            screen_of(bench).form.go_to(name)
            await pilot.pause()
            await pilot.press("ctrl+r")
        await pilot.pause()
        assert screen_of(bench).draft == Draft()


async def test_escape_closes_an_open_choice_first(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await pilot.press("space", "escape")
        assert focused(bench) == PRESET
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(bench.screen, RunsScreen)


async def test_enter_in_a_text_goes_to_the_next_field(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "seed", "7")
        await pilot.press("enter")
        assert focused(bench) == "seeds"


async def test_another_preset_keeps_what_was_changed(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "train.lr", "0.5")
        screen_of(bench).form.go_to(PRESET)
        await pilot.press("enter", "up", "enter")
        await pilot.pause()
        assert screen_of(bench).draft == Draft("seed", {"train.lr": "0.5"})
        assert (row(bench, "train.lr").raw, row(bench, "data.num_samples").raw) == ("0.5", "10000")
        assert row(bench, "data.num_samples").query_one(Input).value == "10000"


async def test_what_is_wrong_stands_under_its_field_while_it_is_written(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        await write(pilot, bench, "model.dim", "12")
        problem = row(bench, "model.dim").render().plain.splitlines()[1]
        assert "× dim must be a multiple of 2 × num_heads" in problem
        assert row(bench, "model.num_heads").problem.startswith("dim must be")
        assert "2 to correct" in shown(bench, "#title")
        await pilot.press("8")
        await pilot.pause()
        assert row(bench, "model.dim").problem == row(bench, "model.num_heads").problem == ""
        assert len(row(bench, "model.dim").render().plain.splitlines()) == 1


# The estimate


async def test_the_estimate_follows_the_last_change(database: Path, fake: FakeEstimating) -> None:
    bench = EetuiApp(database)
    async with new_screen(bench) as pilot:
        panel = bench.screen.query_one(EstimatePanel)
        await until_true(pilot, lambda: panel.forecast.estimate and not panel.forecast.state)
        assert "65,536 + 12,288 tokens" in shown(bench, ".lines")
        assert len(fake.answered) == 1
        await write(pilot, bench, "seeds", "2")
        await until_true(pilot, lambda: fake.answered[-1] == 6 and not panel.forecast.state)


async def test_neither_name_nor_tags_are_measured_anew(database: Path, fake: FakeEstimating) -> None:
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


async def test_half_a_path_is_not_read(database: Path, fake: FakeEstimating) -> None:
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


async def test_what_is_wrong_with_a_corpus_is_shown(database: Path, fake: FakeEstimating) -> None:
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


# Leaving and starting


async def test_nothing_that_was_written_is_lost_on_leaving(database: Path, fake: FakeEstimating) -> None:
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
