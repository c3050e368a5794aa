"""The Compare screen: every view and key, on scripted runs."""

import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.coordinate import Coordinate
from textual.pilot import Pilot
from textual.widgets import Button, Static, TabbedContent

from core.store.new_runs import NewRun
from core.store.writer import Writer
from eetui.app import EetuiApp
from eetui.compare.screen import CompareScreen
from eetui.compare.table import CompareTable
from eetui.console.settings import Settings
from eetui.drawing.chart import Chart
from tests.eetui.driving import screen_text
from tests.scripted_runs import RECORD, add, append, config, make_database, scripted, until


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store runs 1 loss, 2 distill, 3 softmax of seed 42, and 7 loss of seed 43."""
    monkeypatch.chdir(tmp_path)
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        add(writer, list(scripted("loss")), "loss", 43)
    return path


@asynccontextmanager
async def comparing(database: Path, *runs: int, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    async with EetuiApp(database, Settings()).run_test(size=size) as pilot:
        await pilot.pause()
        pilot.app.open("compare", *(runs or (1, 2, 3)))  # type: ignore[attr-defined]
        await settle(pilot)
        yield pilot


async def settle(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settle(pilot)


def screen(pilot: Pilot[None]) -> CompareScreen:
    assert isinstance(pilot.app.screen, CompareScreen)
    return pilot.app.screen


def table(pilot: Pilot[None], view: str = "final") -> CompareTable:
    return pilot.app.screen.query_one(f"#{view}", CompareTable)


def row(pilot: Pilot[None], label: str, view: str = "final") -> list[str]:
    shown = table(pilot, view)
    rows = [[str(cell) for cell in shown.get_row_at(index)] for index in range(shown.row_count)]
    return next(cells[1:] for cells in rows if cells[0] == label)


def heads(pilot: Pilot[None], view: str = "final") -> list[str]:
    return [str(column.label) for column in table(pilot, view).ordered_columns][1:]


def note(pilot: Pilot[None], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


async def test_the_final_table_stands_first_with_the_best_starred(database: Path) -> None:
    async with comparing(database) as pilot:
        assert heads(pilot) == ["loss-1\nseed 42", "distill-2\nseed 42", "softmax-3\nseed 42"]
        assert row(pilot, "Final PPL (early exit)") == ["212.72 ★", "214.86  ", "219.20  "]
        assert row(pilot, "Layer savings") == ["25.00%  ", "25.50%  ", "26.50% ★"]
        assert row(pilot, "Oracle, PPL")[0] == "152.93 ★"
        assert "eval split, all tokens" in str(table(pilot).ordered_columns[0].label)


@pytest.mark.parametrize(
    ("key", "view"),
    [("2", "training"), ("3", "config"), ("4", "curves"), ("5", "savings"), ("6", "advice"), ("1", "final")],
)
async def test_number_keys_choose_the_view(database: Path, key: str, view: str) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "3" if key == "1" else "1", key)
        assert screen(pilot).view == view
        assert pilot.app.focused is screen(pilot).query_one(f"#{view}")


async def test_a_tab_can_be_clicked(database: Path) -> None:
    async with comparing(database) as pilot:
        await pilot.click("Tab#--content-tab-view-training")
        await settle(pilot)
        assert screen(pilot).view == "training"
        assert row(pilot, "Block 0 threshold", "training") == ["0.1300"] * 3


async def test_config_shows_what_differs_and_all_of_it_when_asked(database: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "3")
        assert row(pilot, "method", "config") == ["loss", "distill", "softmax"]
        assert table(pilot, "config").row_count == 1
        await press(pilot, "o")
        assert table(pilot, "config").row_count > 20
        await press(pilot, "o")
        assert table(pilot, "config").row_count == 1


async def test_the_long_reference_of_a_model_leaves_room_for_two_runs_at_80_columns(database: Path) -> None:
    text = config("loss", corpus="/texts/of/a/deep/folder/with/a/long/name/text.txt").model_dump_json()
    text = text.replace("text.txt", f"hf:model#sha256={'0123456789abcdef' * 4}&tokenizer={'f' * 64}")
    with Writer(database) as writer:
        (long,) = writer.create_experiment([NewRun("long", "loss", 42, "quick", text, RECORD)])
        append(writer, long, list(scripted("loss")))
    async with comparing(database, long, 1) as pilot:
        await press(pilot, "3")
        value, _ = row(pilot, "data.corpus", "config")
        assert value.endswith("/hf:model#sha256=01234567…&tokenizer=ffffffff…")
        assert "pydocs" in screen_text(pilot.app)  # type: ignore[arg-type]


async def test_o_leaves_out_rows_in_which_all_agree(database: Path) -> None:
    async with comparing(database) as pilot:
        whole = table(pilot).row_count
        await press(pilot, "o")
        assert table(pilot).row_count < whole
        with pytest.raises(StopIteration):
            row(pilot, "Shallow ratio (target)")
        await press(pilot, "o")
        assert table(pilot).row_count == whole


async def test_b_takes_the_column_under_the_cursor_as_baseline_and_lets_it_go(database: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "l", "b")
        assert heads(pilot)[1] == "distill-2\nbaseline"
        assert row(pilot, "Final PPL (early exit)") == ["212.72  -1.00% ★", "214.86  ", "219.20  +2.02%  "]
        assert "against distill-2" in note(pilot, "#title")
        await press(pilot, "h", "b")
        assert heads(pilot)[0] == "loss-1\nbaseline"
        await press(pilot, "b")
        assert row(pilot, "Final PPL (early exit)") == ["212.72 ★", "214.86  ", "219.20  "]


async def test_b_goes_through_the_columns_where_there_is_no_cursor(database: Path) -> None:
    async with comparing(database, 1, 2) as pilot:
        await press(pilot, "6")
        found = []
        for _ in range(3):
            await press(pilot, "b")
            comparison = screen(pilot).comparison
            assert comparison is not None
            found.append(comparison.baseline)
        assert found == [0, 1, None]


async def test_g_joins_seeds_or_not(database: Path) -> None:
    async with comparing(database, 1, 7, 3) as pilot:
        assert heads(pilot) == ["loss ×2\n2 seeds", "softmax-3\nseed 42"]
        assert row(pilot, "Final PPL (early exit)")[0] == "212.72 ± 0.00 ★"
        await press(pilot, "g")
        assert heads(pilot) == ["loss-1\nseed 42", "loss-7\nseed 43", "softmax-3\nseed 42"]
        await press(pilot, "g")
        assert len(heads(pilot)) == 2


async def test_w_adds_and_removes_the_reports_columns(database: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "w")
        assert [head.split("\n")[0] for head in heads(pilot)[3:]] == ["report:distill", "report:loss", "report:softmax"]
        assert row(pilot, "Final PPL (early exit)")[3] == "1095.46  "
        await press(pilot, "5")
        reports = "No savings curve of report:distill, report:loss, report:softmax: each was not evaluated on the text"
        assert reports in note(pilot, "#savings-note")
        await press(pilot, "w", "1")
        assert len(heads(pilot)) == 3


async def test_small_screens_show_the_metric_and_two_columns_and_scroll_the_rest(database: Path) -> None:
    async with comparing(database, 1, 2, 3, 7) as pilot:
        await press(pilot, "w", "b", "2")
        shown = table(pilot, "training")
        widths = [column.get_render_width(shown) for column in shown.ordered_columns]
        assert sum(widths[:3]) <= 80
        assert shown.fixed_columns == 1
        assert shown.scroll_offset.x == 0
        await press(pilot, *["l"] * 6)
        assert shown.scroll_offset.x > 0
        await press(pilot, "j", "j")
        assert shown.scroll_offset.y == 2
        await press(pilot, "k")
        assert shown.scroll_offset.y == 1


async def test_curves_of_a_block_in_nats_or_ppl(database: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "4")
        chart = pilot.app.screen.query_one("#curves", Chart)
        assert chart.title == "Block 0 early-stop nats"
        assert [series.name for series in chart.series] == ["loss-1", "distill-2", "softmax-3"]
        assert list(chart.series[0].x) == [1, 2, 3, 4]
        await press(pilot, "right_square_bracket", "v")
        assert chart.title == "Block 1 early-stop PPL"
        assert "own hard tokens" in note(pilot, "#curves-note")
        await press(pilot, "right_square_bracket", "left_square_bracket")
        assert screen(pilot).block == 0


async def test_savings_shows_early_exit_beside_the_static_depths(database: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "5")
        series = pilot.app.screen.query_one("#savings", Chart).series
        early = [one for one in series if one.name]
        assert [list(one.x) for one in early] == [[0.25], [0.255], [0.265]]
        static = [one for one in series if not one.name]
        assert {one.marker for one in static} == {"◦"}
        assert list(static[0].x) == [0.5, 0.5, 0.0]  # block 0 as trained and alone, all blocks
        assert "loss-1 212.72 at 25.00%" in note(pilot, "#savings-note")


async def test_advice_gives_reasons_differences_and_warnings(database: Path) -> None:
    async with comparing(database, size=(160, 50)) as pilot:
        await press(pilot, "6")
        svg = pilot.app.export_screenshot().replace("&#160;", " ")
        for words in ("for accuracy: loss-1", "for compute: none – exited tokens", "95% interval", "loses to"):
            assert words in svg


@pytest.mark.parametrize("suffix", ["md", "csv", "json", "svg"])
async def test_e_exports_what_is_seen_and_says_where(database: Path, tmp_path: Path, suffix: str) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "b", "e")
        button = next(each for each in pilot.app.screen.query(Button) if each.name == suffix)
        button.press()
        await settle(pilot)
        await pilot.pause(0.1)
        path = tmp_path / "eetui-exports" / f"compare-final.{suffix}"
        assert any(str(path) in each.message for each in pilot.app._notifications)
        written = path.read_text()
    if suffix == "csv":
        assert {line["table"] for line in csv.DictReader(written.splitlines())} == {"final"}
    elif suffix == "json":
        assert json.loads(written)["baseline"] == "loss-1"
    elif suffix == "md":
        assert "| Final PPL (early exit) | **212.72** ★ | 214.86" in written
        assert "Training" not in written
    else:
        assert written.startswith("<svg")
        assert "212.72" in written


async def test_nothing_is_exported_when_the_question_is_left(database: Path, tmp_path: Path) -> None:
    async with comparing(database) as pilot:
        await press(pilot, "e", "escape")
        assert screen(pilot).is_current
    assert not (tmp_path / "eetui-exports").exists()


async def test_runs_in_training_change_their_cells_in_place(database: Path) -> None:
    events = list(scripted("correct"))
    with Writer(database) as writer:
        half = until(iter(events), "block0.lm", 2)
        run = add(writer, half, "correct")
        async with comparing(database, 1, run) as pilot:
            await press(pilot, "2")
            assert heads(pilot, "training")[1].endswith("running")
            before = row(pilot, "Block 0 epochs trained", "training")
            keys = list(table(pilot, "training").columns)
            append(writer, run, events[len(half) : len(half) + 12], half)
            await pilot.pause(1.2)  # two looks at the database
            after = row(pilot, "Block 0 epochs trained", "training")
            assert before[1].strip() == "2"
            assert int(after[1]) > 2
            assert list(table(pilot, "training").columns) == keys  # not rebuilt
            done = half + events[len(half) : len(half) + 12]
            append(writer, run, events[len(done) :], done)
            await pilot.pause(1.2)  # two looks at the database
            assert heads(pilot, "training")[1].endswith("seed 42")


async def test_runs_that_are_deleted_leave_the_comparison(database: Path) -> None:
    async with comparing(database, 1, 2, 3) as pilot:
        with Writer(database) as writer:
            writer.delete(2)
        await pilot.pause(1.2)  # two looks at the database
        assert [head.split("\n")[0] for head in heads(pilot)] == ["loss-1", "softmax-3"]


async def test_runs_without_results_are_no_trouble(database: Path) -> None:
    async with comparing(database, 4, 6) as pilot:
        for key in ("b", *"23456"):
            await press(pilot, key)
        assert screen(pilot).query_one(TabbedContent).active == "view-advice"


async def test_more_than_six_runs_are_rows_and_the_cursor_chooses_one(database: Path) -> None:
    with Writer(database) as writer:
        runs = [add(writer, list(scripted("softmax")), "softmax", seed) for seed in range(50, 55)]
    async with comparing(database, 1, 2, *runs) as pilot:
        assert len(heads(pilot)) < 7, "seeds are joined"
        await press(pilot, "g")
        shown = table(pilot)
        assert [str(cell) for cell in shown.get_column_at(0)][:2] == ["loss-1  seed 42", "distill-2  seed 42"]
        assert heads(pilot)[0] == "Final PPL\n(early exit)"
        assert row(pilot, "loss-1  seed 42")[0].strip(" ★") == "212.72"
        await press(pilot, "down", "b")
        assert str(shown.get_cell_at(Coordinate(1, 0))) == "distill-2  baseline"
        await press(pilot, "3")
        assert heads(pilot, "config")[0].strip() == "method"
        await press(pilot, "1", "g")
        assert len(heads(pilot)) == 3, "and stand in columns again"
