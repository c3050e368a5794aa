"""The timeline, drawn without an app."""

import pytest

from core.events import Step
from eetui.drawing.palette import Palette
from eetui.live.situation import stage_rows
from eetui.live.timeline_text import active_index, stage_line, timeline
from tests.scripted_runs import STAGES, scripted, state_of, until

STYLE = Palette()
HALF = list(until(scripted(), "block0.lm", 2))
FINISHED = state_of(scripted())


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
