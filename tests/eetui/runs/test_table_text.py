"""The lines of the list of runs, its preview and its files, drawn without an app."""

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from core.events import Event, RunStarted, StageStarted
from core.state import RunState, reduce
from eetui.drawing.cells import bar, fitted
from eetui.drawing.palette import Palette
from eetui.drawing.sparklines import sparkline
from eetui.runs.export_text import runs_csv, runs_markdown
from eetui.runs.preview_text import preview_line, run_preview
from eetui.runs.standing import Standing
from eetui.runs.table_text import ORDER, column_at, columns_for, head_lines, next_order, row_line, status_cell
from eetui.runs.title_text import Facts, title_line
from eetui.summary.progress import progress
from tests.scripted_runs import PLANNED, RECORD, config, scripted, state_of, until

STYLE = Palette()


def row(**changes: object) -> dict[str, Any]:
    return {
        "id": 12345, "experiment": 7, "name": "loss-1", "method": "loss", "seed": 42, "preset": "quick",
        "status": "finished", "created": 1e9, "started": 1e9, "ended": 1e9, "heartbeat": 1e9, "error": None,
        "block0_val_ppl": 105.8, "final_ppl": 98765.43, "bits_per_byte": 2.5, "accuracy": 0.1706,
        "shallow_ratio": 0.6365, "layer_savings": 1.0, "flop_savings": -0.2512, "time_savings": None, "seconds": 3723.0,
        "tags": "one two",
    } | changes  # fmt: skip


def text_of(renderable: Any, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


# Columns


def test_every_line_fills_its_columns_and_never_more_than_the_table() -> None:
    for width in range(38, 260):
        columns = columns_for(width)
        rows = [row(), row(name="漢" * 90, status="running", seed=2**62)]
        lines = [*head_lines(columns, "id", True, STYLE), *(row_line(columns, r, Standing(0.5), STYLE) for r in rows)]
        assert len({cell_len(line.plain) for line in lines}) == 1
        assert all(cell_len(line.plain.rstrip()) <= width for line in lines)  # but for the gap after the last column


def test_a_narrow_terminal_has_the_essential_columns_whole() -> None:
    columns = columns_for(79)
    assert [column.key for column in columns] == [
        "mark", "id", "name", "status", "final_ppl", "accuracy", "layer_savings", "seconds",
    ]  # fmt: skip
    line = row_line(columns, row(status="interrupted"), Standing(), STYLE, marked=True, under_cursor=True).plain
    assert line.split() == ["›●12345", "loss-1", "■", "interrupted", "98765.43", "17.06%", "100.00%", "1h02m"]


def test_a_wide_terminal_has_them_all_and_the_spare_goes_to_names_and_tags() -> None:
    columns = columns_for(180)
    assert [column.key for column in columns] == [column.key for column in ORDER]
    assert [column.width for column in columns if column.key in ("name", "status")] == [36, 22]


def test_columns_only_ever_join_as_the_terminal_grows() -> None:
    before: set[str] = set()
    for width in range(38, 200):
        keys = {column.key for column in columns_for(width)}
        assert before <= keys
        before = keys


def test_heads_have_no_clipped_word_and_one_arrow() -> None:
    for width in range(38, 200):
        columns = columns_for(width)
        for column in columns:
            first, second = (line.plain for line in head_lines(columns, column.key, False, STYLE))
            assert "…" not in first + second
            assert (first + second).count("▲") == int(column.sorts)


def test_a_long_name_ends_with_an_ellipsis() -> None:
    assert fitted("a very long name", 9) == "a very l…"
    assert fitted("漢字漢字", 6) == "漢字… "
    assert fitted("12", 4, "right") == "  12"
    assert fitted("tab\there\x1b[31m", 20) == "tab�here�[31m".ljust(20)


def test_a_click_on_a_head_finds_its_column() -> None:
    columns = columns_for(79)
    line = head_lines(columns, "id", True, STYLE)[0].plain
    assert column_at(columns, line.index("Run") + 1).key == "id"  # type: ignore[union-attr]
    assert column_at(columns, line.index("Accuracy")).key == "accuracy"  # type: ignore[union-attr]
    assert column_at(columns, 500) is None


def test_sorting_goes_on_to_the_next_column_in_view_and_round() -> None:
    columns = columns_for(79)
    seen, order = [], ("id", True)
    for _ in range(7):
        order = next_order(columns, order[0])
        seen.append(order)
    assert seen == [
        ("name", False), ("status", False), ("final_ppl", False), ("accuracy", True), ("layer_savings", True),
        ("seconds", True), ("id", True),
    ]  # fmt: skip
    assert next_order(columns, "seed") == ("id", True)  # no longer in view


# Status


@pytest.mark.parametrize(
    ("status", "standing", "width", "text"),
    [
        ("finished", Standing(), 13, "✓ finished   "),
        ("queued", Standing(), 13, "… queued     "),
        ("queued", Standing(place=2), 13, "… queued #2  "),
        ("running", Standing(), 13, "▶ running    "),
        ("running", Standing(progress=0.5), 13, "▶ ━━━━─── 50%"),
        ("running", Standing(progress=0.5), 22, "▶ running ━━━━──── 50%"),
        ("running", Standing(progress=1.0), 13, "▶ ━━━━━━━ 99%"),
        ("running", Standing(progress=0.0), 13, "▶ ───────  0%"),
        ("running", Standing(progress=0.43, held=True), 13, "‖ paused 43% "),
        ("running", Standing(progress=0.43, stopping=True), 13, "▶ stopping   "),
    ],
)
def test_a_status_is_a_sign_and_a_word_or_a_bar(status: str, standing: Standing, width: int, text: str) -> None:
    assert status_cell(status, standing, width, STYLE).plain == text


def test_a_bar_is_never_longer_than_its_room() -> None:
    assert bar(1.7, 4, "", "").plain == "━━━━"
    assert bar(-1, 4, "", "").plain == "────"
    assert bar(0.5, 0, "", "").plain == ""


def test_a_running_row_shows_the_time_so_far() -> None:
    line = row_line(columns_for(79), row(status="running", seconds=None), Standing(elapsed=65.0), STYLE).plain
    assert line.rstrip().endswith("1m05s")


def test_missing_figures_are_dashes() -> None:
    line = row_line(columns_for(79), row(final_ppl=None, accuracy=None, seconds=None), Standing(), STYLE).plain
    assert line.split()[-4:] == ["–", "–", "100.00%", "–"]


# Progress


def test_progress_grows_from_nothing_to_all_with_every_event() -> None:
    state, shares = RunState(), []
    for event in scripted():
        state = reduce(state, event)
        shares.append(progress(state))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)


def test_progress_counts_language_models_most_and_steps_within_the_epoch() -> None:
    planned = 2 * 8 + 7  # two of weight 8, seven others
    halfway = until(scripted(), "block0.lm", 2)
    assert progress(state_of(halfway)) == pytest.approx(8 * 2 / 10 / planned)
    more = [*scripted()][: len(halfway) + 2]  # two of five steps into the third epoch
    assert progress(state_of(more)) == pytest.approx(8 * 2.4 / 10 / planned)


def test_progress_of_a_run_without_events_is_nothing() -> None:
    assert progress(RunState()) == 0.0
    assert progress(state_of([RunStarted((), 0, 0, 0, (2, 2), 0)])) == 0.0
    assert progress(state_of([RunStarted(PLANNED, 0, 0, 0, (2, 2), 0)])) == 0.0


# Sparklines


def test_a_sparkline_has_a_bar_a_value_from_lowest_to_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5], 8) == "▁▁"
    assert sparkline([], 8) == ""


def test_a_long_series_shares_the_bars() -> None:
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert len(sparkline(list(range(1000)), 16)) == 16


def test_what_is_not_finite_is_a_gap() -> None:
    assert sparkline([1, math.inf, 2], 8) == "▁ █"
    assert sparkline([math.nan], 8) == " "


# Preview


def stored(events: "list[Event]", **changes: object) -> tuple[dict[str, Any], RunState]:
    whole = row(config=config().model_dump(), record=RECORD, tags=["tiny"], notes=[], **changes)
    return whole, state_of(events)


@pytest.mark.parametrize("width", [38, 60, 100])
def test_the_preview_tells_the_figures_the_curve_and_the_warnings(width: int) -> None:
    whole, state = stored(list(scripted()))
    whole["notes"] = [{"time": 1.0, "text": "[b]to beat[/b]"}]
    text = " ".join(text_of(run_preview(whole, state, STYLE, width), width).split())
    for part in ("212.72", "17.00%", "Oracle, PPL", "115.51, epoch 3 of 4", "tags tiny", "note: [b]to beat[/b]"):
        assert part in text
    assert "! early exit loses" in text
    assert "█" in text


def test_the_preview_names_the_training_of_all_blocks_together() -> None:
    training = [
        replace(event, block=None) if isinstance(event, StageStarted) else event
        for event in until(scripted(), "block0.lm", 2)
    ]
    text = text_of(run_preview(*stored(training), STYLE, 60), 60)
    assert "all blocks  " in text
    assert "None" not in text


def test_the_preview_of_a_failed_run_shows_its_error_and_no_figures() -> None:
    whole, state = stored([], status="failed", error="block0.lm diverged")
    text = text_of(run_preview(whole, state, STYLE, 40), 40)
    assert "block0.lm diverged" in text
    assert "no evaluation yet" in text


def test_the_preview_of_a_running_run_shows_how_far_it_is() -> None:
    whole, state = stored(until(scripted(), "block1.lm", 2), status="running")
    assert f"{progress(state):.0%}" in text_of(run_preview(whole, state, STYLE, 40), 40)


def test_the_preview_line_tells_what_a_narrow_list_leaves_out() -> None:
    line = preview_line(row(), 78, STYLE, "p preview").plain
    assert len(line) == 78
    assert line.startswith("loss · seed 42 · block 0 early-stop PPL 105.80 · bits/byte 2.5000  ")
    assert line.endswith("p preview")
    failed = preview_line(row(status="failed", error="diverged\nmore"), 78, STYLE, "").plain
    assert "diverged" in failed
    assert "more" not in failed
    assert preview_line(None, 30, STYLE, "p").plain == " " * 29 + "p"


# Title


def test_the_title_counts_and_its_path_gives_way() -> None:
    facts = Facts(shown=12, total=10_000, running=1, queued=2, marked=3, deleted=4)
    wide = title_line(facts, "/some/where/runs.db", 140).plain
    assert wide.startswith("eetui · runs  /some/where/runs.db")
    assert wide.endswith("12 of 10,000 runs · 1 running · 2 queued · 3 marked · 4 deleted, u undoes")
    assert len(wide) == 140
    assert "…down/where/runs.db" in title_line(Facts(1, 1), "/some/where/deep/down/where/runs.db", 40).plain
    assert title_line(Facts(1, 1), "runs.db", 60).plain.endswith(" 1 run")
    narrow = title_line(facts, "/some/where/runs.db", 78).plain
    assert narrow == "eetui · runs    12 of 10,000 runs · 1 running · 2 queued · 3 marked · 4 deleted"


# Files


def test_a_list_as_markdown_and_csv_holds_every_run() -> None:
    rows = [row(), row(id=2, name="a|b", final_ppl=None, tags=None)]
    lines = runs_markdown(rows).splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("| 2 | a\\|b | loss | 42 | finished | 105.80 | – |")
    read = list(csv.DictReader(io.StringIO(runs_csv(rows))))
    assert [line["name"] for line in read] == ["loss-1", "a|b"]
    assert float(read[0]["final_ppl"]) == 98765.43
    assert read[1]["final_ppl"] == ""
    assert (read[0]["flop_savings"], read[0]["time_savings"]) == ("-0.2512", "")
    assert json.loads(json.dumps(read))[0]["tags"] == "one two"
