"""The list of runs, driven by keys and mouse."""

from pathlib import Path

import pytest
from textual.widgets import Input

from core.errors import StoreError
from core.store.writer import Writer
from eetui.runs.table import RunsTable
from tests.eetui.driving import messages, press, until_true
from tests.eetui.runs.list_console import Opened, lines, shown, table, text_of
from tests.scripted_runs import add, many_runs, scripted

EVERY_KEY = "up down j k pageup pagedown home end g G space a A s S p c i x r e R t N y d u slash escape enter".split()


# Display


async def test_all_runs_newest_first_with_their_figures(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert shown(bench) == [6, 5, 4, 3, 2, 1]
        assert lines(bench)[2].split() == ["›", "6", "correct-6", "…", "queued", "–", "–", "–", "–"]
        assert lines(bench)[7].split() == ["1", "loss-1", "✓", "finished", "212.72", "17.00%", "25.00%", "12.5s"]
        assert text_of(bench, "#title").endswith("6 runs · 1 queued")
        assert str(database) in text_of(bench, "#title") or "…" in text_of(bench, "#title")


@pytest.mark.parametrize("size", [(80, 24), (120, 30), (160, 50), (200, 60), (40, 8), (60, 12)])
async def test_no_line_is_wider_than_the_terminal(database: Path, size: tuple[int, int]) -> None:
    bench = Opened(database)
    async with bench.run_test(size=size) as pilot:
        await pilot.pause()
        widget = table(bench)
        assert {widget.render_line(y).cell_length for y in range(widget.size.height)} == {widget.size.width}
        assert len(text_of(bench, "#title")) <= size[0]


async def test_an_empty_database_says_what_to_do(tmp_path: Path) -> None:
    bench = Opened(tmp_path / "new.db")
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "press n" in lines(bench)[3]
        assert text_of(bench, "#title").endswith("0 runs")
        for key in EVERY_KEY:  # every key works without a run
            await press(pilot, key)
            if bench.screen is not bench.screen_stack[1]:
                await press(pilot, "escape")
        assert bench.asked == []


async def test_a_terminal_too_small_gets_a_sentence(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(39, 7)) as pilot:
        await pilot.pause()
        assert "needs 40 columns and 8 rows" in text_of(bench, "#too-small")
        assert not bench.screen.query_one("#body").display
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert bench.screen.query_one("#body").display


async def test_a_database_that_can_not_be_read_is_no_end(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()

        def fail(*_: object, **__: object) -> None:
            raise StoreError("the disk is gone")

        monkeypatch.setattr(table(bench).pages, "row", fail)
        assert "the disk is gone" in lines(bench)[2]
        await press(pilot, "down", "end", "space", "R", "c", "d", "i")
        assert set(messages(bench)) == {"the disk is gone"}


# The cursor


async def test_the_cursor_moves_by_every_key_and_stays_within_the_list(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        for key, run in (
            ("up", 6), ("down", 5), ("j", 4), ("k", 5), ("end", 1), ("down", 1), ("home", 6), ("G", 1), ("g", 6),
            ("pagedown", 1), ("pageup", 6),
        ):  # fmt: skip
            await press(pilot, key)
            assert table(bench).run == run, key


async def test_a_click_selects_a_double_click_opens_and_the_wheel_scrolls(tmp_path: Path) -> None:
    bench = Opened(many_runs(tmp_path / "runs.db", 300))
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.click(RunsTable, offset=(10, 5))
        assert table(bench).run == 297
        assert bench.asked == []
        table(bench).scroll_to(y=100, animate=False)
        await pilot.pause()
        assert table(bench).run == 297  # scrolling does not move the cursor
        await pilot.click(RunsTable, offset=(10, 5), times=2)
        await pilot.pause()
        assert bench.asked == [("live", 197)]
        await pilot.click(RunsTable, offset=(79, 21))
        assert table(bench).run == 197  # the scrollbar's


async def test_enter_opens_the_run(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "down", "enter")
        assert bench.asked == [("live", 5)]


async def test_the_cursor_stays_on_its_run_when_others_arrive(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "down", "down", "space")
        assert table(bench).run == 3
        with Writer(database) as writer:
            new = add(writer, list(scripted()))
        await until_true(pilot, lambda: shown(bench)[0] == new)
        assert (table(bench).run, table(bench).cursor) == (3, 4)
        assert list(bench.marked) == [4]


async def test_what_is_in_view_stays_in_view_when_others_arrive(tmp_path: Path) -> None:
    path = many_runs(tmp_path / "runs.db", 300)
    bench = Opened(path)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await press(pilot, *["pagedown"] * 5, "up", "up")
        before = [line for line in lines(bench)[2:]]
        with Writer(path) as writer:
            for _ in range(3):
                add(writer, [])
        await until_true(pilot, lambda: table(bench).pages.count == 303)
        assert lines(bench)[2:] == before


async def test_a_run_deleted_elsewhere_leaves_the_cursor_where_it_was(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "down", "space", "end", "space")
        with Writer(database) as writer:
            writer.delete(1)
        await until_true(pilot, lambda: len(shown(bench)) == 5)
        assert table(bench).run == 2
        assert list(bench.marked) == [5]  # the mark of the deleted run is gone


# Filter


async def test_the_filter_works_as_one_types_and_escape_leaves_and_clears_it(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash")
        seen = []
        for key in "status:finished ppl<215":
            await press(pilot, key)
            seen += [shown(bench)] if [*seen[-1:]] != [shown(bench)] else []
        assert seen == [[6, 5, 4, 3, 2, 1], [3, 2, 1], [], [2, 1]]  # ppl<2 finds none
        assert text_of(bench, "#title").endswith("2 of 6 runs · 1 queued")
        await press(pilot, "escape", "j")
        assert table(bench).run == 1
        await press(pilot, "escape")
        assert len(shown(bench)) == 6
        assert table(bench).run == 1


@pytest.mark.parametrize("key", ["enter", "down", "escape"])
async def test_the_list_has_the_keys_again_after(database: Path, key: str) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "slash", *"tiny", key)
        assert bench.focused is table(bench)


async def test_an_invalid_filter_says_why_and_keeps_the_rows(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash")
        assert "method:" in text_of(bench, "FilterBar Static")
        await press(pilot, *"loss")
        assert shown(bench) == [4, 1]
        bench.screen.query_one(Input).value = "loss speed<3"
        await pilot.pause()
        assert shown(bench) == [4, 1]
        assert "'speed' must be one of" in text_of(bench, "FilterBar Static")
        assert bench.screen.query_one("FilterBar Static").size.height == 1
        await press(pilot, "escape")
        assert bench.screen.query_one("FilterBar Static").display  # the error stays visible
        await press(pilot, "escape")
        assert len(shown(bench)) == 6
        assert not bench.screen.query_one("FilterBar Static").display


async def test_a_filter_that_finds_nothing_says_so_and_keys_do_nothing(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "slash", *"nothing", "enter")
        assert "No run matches" in lines(bench)[3]
        await press(pilot, "space", "c", "d", "enter", "a")
        assert (bench.asked, bench.marked) == ([], {})
        await press(pilot, "escape")
        assert table(bench).run is not None


# Order


async def test_sorting_by_keys_goes_through_the_columns_and_reverses(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "down", "s")
        assert shown(bench) == [6, 2, 1, 4, 3, 5]
        assert lines(bench)[1].split() == ["▲", "eval", "eval", "savings"]
        assert table(bench).cursor == 0  # a new order starts at its top
        await press(pilot, "S")
        assert shown(bench) == [5, 3, 4, 1, 2, 6]
        await press(pilot, "s", "s")
        assert table(bench).pages.query.order_by == "final_ppl"
        assert shown(bench)[:3] == [1, 2, 3]  # missing figures last
        await press(pilot, "S")
        assert shown(bench)[:3] == [3, 2, 1]


async def test_a_click_on_a_head_sorts_and_another_reverses(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        x = lines(bench)[0].index("Layer")
        await pilot.click(RunsTable, offset=(x, 1))
        await pilot.pause()
        assert shown(bench)[:3] == [3, 2, 1]
        await pilot.click(RunsTable, offset=(x, 0))
        await pilot.pause()
        assert shown(bench)[:3] == [1, 2, 3]
        await pilot.click(RunsTable, offset=(0, 0))
        await pilot.pause()
        assert table(bench).pages.query.order_by == "layer_savings"


# Marks


async def test_space_marks_moves_on_and_unmarks_and_marks_survive_the_filter(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "space", "down", "space")
        assert list(bench.marked) == [6, 4]
        assert lines(bench)[2].startswith(" ●")
        assert text_of(bench, "#title").endswith("2 marked")
        await press(pilot, "slash", *"softmax", "enter", "space")
        assert list(bench.marked) == [6, 4, 3]
        await press(pilot, "escape", "home", "space")
        assert list(bench.marked) == [4, 3]
        await press(pilot, "c")
        assert bench.asked == [("compare", [4, 3])]


async def test_all_shown_are_marked_and_none(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "slash", *"tag:tiny", "enter", "a")
        assert sorted(bench.marked) == [1, 2, 3]
        await press(pilot, "A")
        assert bench.marked == {}
        assert text_of(bench, "#title").endswith("queued")


async def test_without_marks_the_experiment_is_compared(tmp_path: Path) -> None:
    bench = Opened(many_runs(tmp_path / "runs.db", 9))
    async with bench.run_test() as pilot:
        await press(pilot, "down", "down", "down", "c")
        assert bench.asked == [("compare", [4, 5, 6])]


async def test_only_a_finished_run_is_inspected(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test() as pilot:
        await press(pilot, "i")
        assert bench.asked == []
        assert "only a finished run" in messages(bench)[0]
        await press(pilot, "end", "i")
        assert bench.asked == [("inspect", 1)]
