"""Ten thousand runs: what is read is bounded by what is seen."""

from pathlib import Path
from typing import Any

import pytest

from tests.eetui.driving import messages, press
from tests.eetui.runs.list_console import Opened, lines, table, text_of
from tests.scripted_runs import many_runs


class Counting(Opened):
    """Counts the rows that are read."""

    def on_mount(self) -> None:
        self.rows = self.queries = 0
        read = self.reader._rows

        def count(sql: str, values: Any = ()) -> list[dict[str, Any]]:
            found = read(sql, values)
            self.rows, self.queries = self.rows + len(found), self.queries + 1
            return found

        self.reader._rows = count  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_runs(tmp_path_factory.mktemp("many") / "runs.db", 10_000)


async def test_ten_thousand_runs_open_with_the_rows_of_a_page(ten_thousand: Path) -> None:
    bench = Counting(ten_thousand)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert text_of(bench, "#title").endswith("10,000 runs")
        assert table(bench).run == 10_000
        assert bench.rows < 600


async def test_scrolling_through_ten_thousand_runs_reads_pages_once(ten_thousand: Path) -> None:
    bench = Counting(ten_thousand)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        bench.rows = bench.queries = 0
        for rows in (*[1] * 90, *[-1] * 90):
            table(bench).action_move(rows)
            lines(bench)
        assert bench.rows <= 110  # the second page
        bench.rows = bench.queries = 0
        await press(pilot, "end")
        assert table(bench).run == 1
        assert bench.rows <= 300
        await press(pilot, "home", *["pagedown"] * 12)
        assert table(bench).cursor == 12 * 17
        assert bench.rows <= 700
        assert bench.queries <= 20


async def test_ten_thousand_runs_are_filtered_and_sorted_by_the_database(ten_thousand: Path) -> None:
    bench = Counting(ten_thousand)
    async with bench.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        bench.rows = 0
        await press(pilot, "slash", *"method:loss")
        assert text_of(bench, "#title").endswith("3,333 of 10,000 runs")
        await press(pilot, "escape", "s", "s", "s")
        assert table(bench).pages.query.order_by == "final_ppl"
        figures = [float(line.split()[5 if line.startswith("›") else 4]) for line in lines(bench)[2:]]
        assert figures == sorted(figures)
        assert bench.rows < 5000


async def test_marking_all_of_many_says_where_it_ends(ten_thousand: Path) -> None:
    bench = Opened(ten_thousand)
    async with bench.run_test() as pilot:
        await press(pilot, "a")
        assert len(bench.marked) == 500
        assert "marked the first 500 of 10,000" in messages(bench)[0]
