"""What became of each planned stage."""

import pytest

from core.events import Event, RunFailed, RunInterrupted
from eetui.live.situation import stage_rows
from tests.scripted_runs import STAGES, scripted, state_of, until

HALF = list(until(scripted(), "block0.lm", 2))
FINISHED = state_of(scripted())


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
