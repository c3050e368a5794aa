"""What the Live screen says, drawn without an app."""

import math
from collections.abc import Iterable
from functools import reduce as fold

import pytest

from core.events import Event, RunFailed, RunInterrupted, Step, Threshold
from core.state import RunState, reduce
from eetui.drawing.axes import (
    LINEAR,
    PPL,
    SHARE,
    WHOLE,
    View,
    latest,
    legend,
    linear_ticks,
    perplexity_ticks,
    plain_labels,
    whole_ticks,
)
from eetui.drawing.histogram import histogram
from eetui.drawing.palette import Palette
from eetui.drawing.series import Curve, Series
from eetui.live.following import LogLine
from eetui.live.measured_text import measured_table
from eetui.live.situation import Machine, Situation, stage_rows
from eetui.live.stage_charts import stage_charts
from eetui.live.text import facts, facts_line, hint, log_text, patience, queue_line, stage_facts, title
from eetui.live.timeline_text import active_index, stage_line, timeline
from tests.scripted_runs import STAGES, scripted, until

STYLE = Palette()
ROW = {
    "name": "loss-1", "method": "loss", "seed": 42, "preset": "quick", "status": "running", "error": None,
}  # fmt: skip


def state_of(events: Iterable[Event]) -> RunState:
    return fold(reduce, events, RunState())


HALF = list(until(scripted(), "block0.lm", 2))
FINISHED = state_of(scripted())
MACHINE = Machine("cpu, 1 thread, float32", 300 * 2**20, "peak", 3)


# The timeline


def test_every_planned_stage_has_a_line_and_a_word() -> None:
    rows = stage_rows(state_of(HALF))
    assert [row.name for row in rows] == list(STAGES)
    assert [row.status for row in rows] == ["active"] + ["waiting"] * 8
    assert all(row.status == "done" for row in stage_rows(FINISHED))


@pytest.mark.parametrize(
    ("end", "words"),
    [(RunFailed("broke", "", 1.0), {"failed", "not run"}), (RunInterrupted("stopped", 1.0), {"stopped", "not run"})],
)
def test_a_run_that_ended_early_says_where(end: Event, words: set[str]) -> None:
    assert {row.status for row in stage_rows(state_of([*HALF, end]))} == words


def test_a_paused_run_and_a_reused_stage_are_told_by_sign_and_word() -> None:
    line = stage_line(stage_rows(state_of(HALF), held=True)[0], False, 78, STYLE).plain
    assert "‖ paused" in line
    reused = [event for event in scripted() if not isinstance(event, Step)]
    reused[1] = type(reused[1])("block0.lm", "lm", 0, 10, 5, 51_200, reused=True)  # type: ignore[call-arg]
    assert "↺ reused" in stage_line(stage_rows(state_of(reused))[0], False, 78, STYLE).plain


@pytest.mark.parametrize("width", [54, 78, 120])
def test_a_line_fills_its_width_and_keeps_its_columns(width: int) -> None:
    lines = []
    for step in (1, 4):
        state = state_of([*HALF, *(Step("block0.lm", 3, n, 4.0, 10_240, 0.5) for n in range(1, step + 1))])
        lines.append(stage_line(stage_rows(state)[0], False, width, STYLE).plain)
    assert [len(line) for line in lines] == [width, width]
    assert lines[0].index("left") == lines[1].index("left")


def test_the_active_stage_tells_epoch_step_and_an_upper_bound() -> None:
    line = stage_line(stage_rows(state_of(HALF))[0], True, 78, STYLE).plain
    assert "epoch  2/10" in line
    assert "step 5/5" in line
    assert line.endswith("≤  20.0s left")
    assert "━" in line


def test_the_selected_line_stays_in_view_of_a_short_timeline() -> None:
    rows = stage_rows(FINISHED)
    text = timeline(rows, len(rows) - 1, 78, 4, STYLE).plain
    assert len(text.splitlines()) == 4
    assert "› ✓ done    evaluation" in text


def test_the_stage_to_look_at_is_the_active_one_or_the_last() -> None:
    assert active_index(stage_rows(state_of(HALF))) == 0
    assert active_index(stage_rows(FINISHED)) == len(STAGES) - 1
    assert active_index(()) == 0


# Title, facts, log, queue


@pytest.mark.parametrize(
    ("status", "situation", "words"),
    [
        ("running", Situation("training"), "▶ training"),
        ("running", Situation("paused"), "‖ paused"),
        ("running", Situation("stopping"), "■ stopping"),
        ("running", Situation(), "▶ training"),
        ("queued", Situation(place=2), "… queued #2"),
        ("finished", Situation(), "✓ finished"),
    ],
)
def test_the_title_says_how_the_run_stands(status: str, situation: Situation, words: str) -> None:
    text = title({**ROW, "status": status}, situation, 78, STYLE).plain
    assert text.startswith(f"{words}  loss-1")
    assert len(text) == 78


def test_the_title_tells_the_reason_of_an_end_and_is_never_too_wide() -> None:
    row = {**ROW, "status": "interrupted", "error": "stopped by the user\nmore"}
    assert "stopped by the user" in title(row, Situation(elapsed=3725.0), 100, STYLE).plain
    assert title(row, Situation(elapsed=3725.0), 40, STYLE).plain.endswith("  1h02m")
    assert len(title(row, Situation(elapsed=3725.0), 40, STYLE).plain) == 40


def test_ppls_name_their_split_and_tokens() -> None:
    table = stage_facts(stage_rows(FINISHED)[0], MACHINE, 54, STYLE, in_lines=True).plain
    assert "early-stop PPL    115.51  all tokens" in table
    assert "all tokens, epoch 3" in table
    assert "peak" in table
    later = next(stage for stage in FINISHED.stages if stage.name == "block1.lm")
    assert "hard tokens" in next(fact.value for fact in facts(later, MACHINE) if fact.label == "early-stop PPL")


def test_patience_is_dots_and_words() -> None:
    assert patience(2, 3) == "●●○ 2 of 3 left"
    assert patience(5, 20) == " 5 of 20 left"


def test_a_line_of_facts_cuts_none_of_them() -> None:
    found = facts(FINISHED.stages[0], MACHINE)
    for width in range(10, 120):
        line = facts_line(found, width, STYLE).plain
        assert len(line) <= width
        assert all(part in [fact.brief for fact in found] for part in line.split(" · ") if part)


def test_facts_of_every_kind_of_stage() -> None:
    briefs = {stage.kind: facts_line(facts(stage, MACHINE), 100, STYLE).plain for stage in FINISHED.stages}
    assert "avg_label 0.1236" in briefs["exit classifier"]
    assert "threshold 0.1300 · hard tokens" in briefs["hard tokens"]
    assert "tok/s" in briefs["statistics"]
    assert "MiB peak" in briefs["evaluation"]


def test_measurements_stand_in_aligned_columns() -> None:
    lines = measured_table(FINISHED, "evaluation", 78, STYLE).plain.splitlines()
    assert lines[0].split() == ["PPL", "on", "accuracy", "left", "early", "layers", "saved"]
    assert lines[1].startswith("early exit")
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[6].startswith("leave after block 0  50.0%")
    assert measured_table(RunState(), "evaluation", 78, STYLE).plain == "measured when the stage ends"


def test_log_lines_carry_a_sign_of_their_kind() -> None:
    kinds = ("event", "warning", "error", "stray")
    assert [log_text(LogLine(kind, "x"), STYLE).plain[0] for kind in kinds] == [" ", "!", "✗", "»"]  # type: ignore[arg-type]


def test_the_queue_in_a_line() -> None:
    assert queue_line([], 0, 80) == ""
    assert queue_line(["loss-2", "softmax-3"], 0, 80).startswith("next: loss-2, softmax-3")
    many = queue_line([f"run-{number}" for number in range(30)], 1, 78, preparing=True)
    assert many.startswith("preparing · 1 to be prepared · next: run-0")
    assert queue_line([], 2, 78) == "2 to be prepared"
    assert "more" in many
    assert len(many) <= 78


def test_the_hint_says_who_trains_the_run() -> None:
    assert hint("running", "process 7 on bench") == "trained by process 7 on bench"
    assert hint("queued", "process 7 on bench") == "waits in process 7 on bench"
    assert "r " in hint("interrupted", None)


# The histogram


def threshold(at: float = 0.13) -> Threshold:
    counts = tuple(round(3000 * math.exp(-(((place - 6) / 5) ** 2))) for place in range(50))
    return Threshold("block0.hard", 0, at, sum(counts), sum(counts[: int(at * 50)]), counts)


@pytest.mark.parametrize(("width", "height"), [(78, 11), (140, 40), (24, 4), (40, 6)])
def test_the_histogram_fills_its_room(width: int, height: int) -> None:
    lines = histogram(threshold(), width, height, STYLE).plain.splitlines()
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)


def test_hard_tokens_are_hatched_and_the_threshold_is_a_line() -> None:
    lines = histogram(threshold(), 78, 11, STYLE).plain.splitlines()
    at = lines[1].index("│")
    assert all(line[at] == "│" for line in lines[:10])
    assert set("".join(line[:at] for line in lines[1:10])) <= set("░. ")
    assert "░" not in "".join(line[at + 1 :] for line in lines[1:10])
    assert "hard" in lines[0]
    assert "threshold 0.1300" in lines[0]
    assert lines[-1].startswith("0.00")


@pytest.mark.parametrize("at", [0.0, 0.02, 0.5, 1.0])
def test_a_threshold_anywhere_is_drawn(at: float) -> None:
    lines = histogram(threshold(at), 60, 8, STYLE).plain.splitlines()
    assert all("│" in line for line in lines[:7])
    assert all(len(line) <= 60 for line in lines)


def test_a_histogram_without_room_is_a_sentence() -> None:
    assert histogram(threshold(), 78, 3, STYLE).plain.startswith("threshold 0.1300, hard ")


def test_a_histogram_of_no_tokens_is_empty_not_an_error() -> None:
    empty = Threshold("s", 0, 0.5, 0, 0, (0,) * 50)
    assert "hard 0.0%" in histogram(empty, 60, 8, STYLE).plain


# Axes and views


def test_ticks_are_round() -> None:
    assert linear_ticks(4.1, 7.9, 3) == [5.0, 6.0, 7.0]
    assert plain_labels([0.25, 0.5, 0.75]) == ["0.25", "0.50", "0.75"]
    assert whole_ticks(0.1, 3.2, 8) == [1.0, 2.0, 3.0]
    assert linear_ticks(1.0, 1.0, 5) == [1.0]
    assert plain_labels([]) == []


def test_ppl_ticks_are_round_in_ppl_and_lie_in_nats() -> None:
    wide = perplexity_ticks(math.log(50), math.log(5000), 8)
    assert PPL.labels(wide) == ["50", "100", "200", "500", "1,000", "2,000", "5,000"]
    narrow = perplexity_ticks(math.log(90), math.log(99), 4)
    assert PPL.labels(narrow) == ["90", "92", "94", "96", "98"]
    assert all(tick <= 700 for tick in perplexity_ticks(0.0, 700.0, 8))


def test_values_are_written_in_the_unit_of_their_axis() -> None:
    assert PPL.value(math.log(123.456)) == "123.46"
    assert SHARE.labels([0.1, 0.2]) == ["10%", "20%"]
    assert (WHOLE.value(3.0), LINEAR.value(1 / 3)) == ("3", "0.3333")


EXTENT = (0.0, 10.0)


def test_a_view_shows_everything_until_it_is_zoomed_and_then_follows() -> None:
    assert View().x(EXTENT) == (0.0, 10.0)
    zoomed = View().zoomed(0.5, EXTENT)
    assert zoomed.x(EXTENT) == (5.0, 10.0)
    assert zoomed.x((0.0, 12.0)) == (7.0, 12.0)
    assert zoomed.zoomed(2.0, EXTENT) == View()


def test_a_panned_view_stays_where_it_is_until_it_follows_again() -> None:
    panned = View().zoomed(0.5, EXTENT).panned(-0.2, EXTENT)
    assert not panned.follows
    assert panned.x((0.0, 100.0)) == (4.0, 9.0)
    assert panned.following().x((0.0, 100.0)) == (95.0, 100.0)


def test_a_view_never_leaves_its_data() -> None:
    view = View().zoomed(0.1, EXTENT)
    for _ in range(100):
        view = view.panned(-1.0, EXTENT)
    assert view.x(EXTENT)[1] > 0.0
    for _ in range(100):
        view = view.panned(1.0, EXTENT)
    assert view.x(EXTENT)[0] < 10.0


def test_the_mouse_zooms_about_its_place() -> None:
    low, high = View().zoomed(0.5, EXTENT, at=2.0).x(EXTENT)
    assert (low, high) == (1.0, 6.0)


def test_heights_move_and_stretch() -> None:
    assert View().raised(0.5, (0.0, 2.0)).y == (1.0, 3.0)
    assert View().stretched(0.5, (0.0, 2.0), 1.0).y == (0.5, 1.5)


# Legend, sentence, curves of a stage

SERIES = (
    Series("old", [1.0], [9.0], 3, "behind"),
    Series("", [1.0], [4.0], 0, "faint"),
    Series("train", [1.0, 2.0], [4.5, 4.31], 0),
    Series("early-stop", [1.0, 3.0], [4.6, 4.52], 1, "marked"),
)


def test_the_legend_tells_series_apart_by_sign() -> None:
    assert legend("loss", SERIES, True, 80).plain == "loss  ⠒⠒ train  ⠒▲⠒ early-stop  ⠂⠂ old"
    assert legend("loss", SERIES, True, 16).plain == "loss  ⠒⠒ train"


def test_a_chart_without_room_tells_the_newest_numbers() -> None:
    words = latest("loss in nats", SERIES, LINEAR, WHOLE, "epoch")
    assert words == "loss in nats: train 4.3100 · early-stop 4.5200 (epoch 3)"
    assert latest("PPL", (), PPL, WHOLE, "epoch") == "PPL: nothing yet"


def test_a_language_model_has_train_and_early_stop_curves_and_its_best_epoch() -> None:
    curve = Curve()
    curve.append(0.5, 5.0)
    (chart,) = stage_charts(FINISHED.stages[0], curve, {}, as_ppl=False)
    assert [one.name for one in chart.series] == ["", "train", "early-stop", "best, epoch 3"]
    assert chart.title == "loss in nats, all tokens"


def test_a_reused_stage_without_steps_draws_its_epochs() -> None:
    (chart,) = stage_charts(FINISHED.stages[0], None, {}, as_ppl=True)
    assert len(chart.series[0].x) == 4
    assert chart.y_axis is PPL


def test_an_exit_classifier_has_two_charts_and_other_stages_none() -> None:
    by_kind = {stage.kind: stage for stage in FINISHED.stages}
    charts = stage_charts(by_kind["exit classifier"], None, {"loss-2": by_kind["exit classifier"]}, as_ppl=False)
    assert [chart.series[-1].name for chart in charts] == ["exit loss", "avg_label"]
    assert all(chart.series[0].style == "behind" for chart in charts)
    assert stage_charts(by_kind["hard tokens"], None, {}, as_ppl=False) == ()
