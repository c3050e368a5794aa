"""Table of what a stage measured, drawn without an app."""

from core.state import RunState
from eetui.drawing.palette import Palette
from eetui.live.measured_text import measured_table
from tests.scripted_runs import scripted, state_of

STYLE = Palette()
FINISHED = state_of(scripted())


def test_measurements_stand_in_aligned_columns() -> None:
    lines = measured_table(FINISHED, "evaluation", 78, STYLE).plain.splitlines()
    assert lines[0].split() == ["PPL", "bits/byte", "on", "accuracy", "left", "early", "layers", "saved"]
    assert lines[1].startswith("early exit")
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[6].startswith("leave after block 0  50.0%")
    assert measured_table(RunState(), "evaluation", 78, STYLE).plain == "measured when the stage ends"
