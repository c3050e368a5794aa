"""The form: every field is reached and edited by key."""

from pathlib import Path

from textual.widgets import Button, Input, Select, Switch

from core.config.run_config import DEFAULT_PRESET, method_names
from core.session.plan import REPORT_METHODS
from eetui.app import EetuiApp
from eetui.runs.screen import RunsScreen
from eetui.setup.draft import Draft, preset_values
from eetui.setup.fields import FIELDS, METHODS, PRESET
from eetui.setup.form import Tick
from tests.eetui.setup.fake_estimator import FakeEstimating
from tests.eetui.setup.opened_form import focused, new_screen, row, screen_of, shown, write


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
        assert visited[:3] == ["data.eval_corpus", "model.source", "train.lr"]
        assert visited[-1] == visited[-2] == "machine.device"
        await pilot.press("down", "pageup")
        assert focused(bench) == "machine.device"
        await pilot.press("pageup")
        assert focused(bench) == "exit.hard_ratio"


# Editing


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


async def test_a_problem_is_shown_under_its_field_while_it_is_edited(database: Path, fake: FakeEstimating) -> None:
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
