"""Table of what a stage measured, drawn without an app."""

from dataclasses import replace

from core.state import RunState
from eetui.drawing.palette import Palette
from eetui.live.measured_text import measured_table
from tests.scripted_runs import scripted, state_of

STYLE = Palette()
FINISHED = state_of(scripted())


def test_measurements_stand_in_aligned_columns() -> None:
    lines = measured_table(FINISHED, "evaluation", 78, STYLE).plain.splitlines()
    assert lines[0].startswith("eval, all tokens   ")
    assert lines[0].split()[3:] == ["PPL", "bits/byte", "accuracy", "left", "early", "layers", "saved"]
    assert lines[1].startswith("early exit")
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[6].startswith("leave after block 0  50.0%")
    assert measured_table(RunState(), "evaluation", 78, STYLE).plain == "measured when the stage ends"


def test_names_are_whole_at_80_columns_and_tokens_have_a_column_where_they_differ() -> None:
    first, *others = (one for one in FINISHED.measured if one.stage == "evaluation")
    before = replace(first, way="as trained", block=0)
    alike = replace(FINISHED, measured=(before, *others))
    assert "\nblock 0 as trained  " in measured_table(alike, "evaluation", 78, STYLE).plain
    differ = replace(FINISHED, measured=(replace(before, token_set="hard"), *others))
    lines = measured_table(differ, "evaluation", 110, STYLE).plain.splitlines()
    assert lines[0].split()[:3] == ["PPL", "bits/byte", "on"]
    assert "  eval, hard  " in lines[1]
    assert "   eval, all  " in lines[2]
