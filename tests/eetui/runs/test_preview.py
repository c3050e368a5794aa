"""The preview of the run under the cursor."""

from pathlib import Path

import pytest

from eetui.runs import screen as runs
from eetui.runs.preview import RunPreview
from tests.eetui.driving import press, until_true
from tests.eetui.runs.list_console import Opened, preview_text, text_of


async def test_the_preview_follows_the_cursor_once_it_rests(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(160, 50)) as pilot:
        await until_true(pilot, lambda: "correct-6" in preview_text(bench))
        await press(pilot, "end")
        await until_true(pilot, lambda: "loss-1" in preview_text(bench))
        for part in ("212.72", "Early-stop PPL by epoch", "tags tiny", "! early exit loses to block 0"):
            await until_true(pilot, lambda part=part: part in preview_text(bench))


async def test_the_preview_reads_nothing_while_the_cursor_moves(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "REST_SECONDS", 1.0)
    bench = Opened(database)
    async with bench.run_test(size=(160, 50)) as pilot:
        await until_true(pilot, lambda: "correct-6" in preview_text(bench))
        read = []
        state = bench.reader.state
        bench.reader.state = lambda run: (read.append(run), state(run))[1]  # type: ignore[method-assign,func-returns-value]
        await pilot.press("down", "down", "down", "down")
        assert read == []
        await until_true(pilot, lambda: read)
        assert read == [2]


@pytest.mark.parametrize(
    ("size", "place", "toggled"),
    [
        ((160, 50), "beside", "line"),
        ((100, 40), "below", "line"),
        ((80, 24), "line", "below"),
        ((80, 12), "line", "line"),
    ],
)
async def test_the_preview_has_its_place_and_p_toggles_it(
    database: Path, size: tuple[int, int], place: str, toggled: str
) -> None:
    bench = Opened(database)
    async with bench.run_test(size=size) as pilot:
        await pilot.pause()
        for expected in (place, toggled, place):
            assert bench.screen.has_class(f"-{expected}")
            assert bench.screen.query_one(RunPreview).display == (expected != "line")
            assert bench.screen.query_one("#line").display == (expected == "line")
            await press(pilot, "p")


async def test_without_a_preview_one_line_tells_the_rest(database: Path) -> None:
    bench = Opened(database)
    async with bench.run_test(size=(80, 24)) as pilot:
        await press(pilot, "end")
        assert text_of(bench, "#line").startswith("loss · seed 42 · block 0 early-stop PPL 115.51 · bits/byte 1.9332")
        assert text_of(bench, "#line").endswith("p preview")
        await press(pilot, "up", "up", "up")
        assert "block0.lm diverged in epoch 3: lower train.lr" in text_of(bench, "#line")
