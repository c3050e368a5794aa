"""Progress of a run and its stages: the same figures in lists, on the Live screen and in headless runs."""

from core.events import Epoch, PlannedStage, RunStarted, Savings, StageEnded, StageStarted, Step
from core.state import RunState, reduce, reduce_all
from eetui.drawing.figures import duration
from eetui.drawing.palette import PLAIN
from eetui.live.timeline_text import progress_fields
from eetui.summary.log_lines import line_of, live_figures
from eetui.summary.progress import progress, seconds_left, seconds_so_far, stage_progress, step_of_epoch, steps_done

STARTED = StageStarted("block0.lm", "lm", 0, epochs=4, steps=5, tokens=100)


def epoch(number: int) -> Epoch:
    return Epoch("block0.lm", number, 3.0, 3.0, None, None, True, 3, 10.0)


def test_a_stage_weighs_by_its_kind_whatever_it_is_called() -> None:
    stages = (PlannedStage("warm-up", "lm", None, True), PlannedStage("odd.lm", "evaluation", None, False))
    begun = (RunStarted(stages, 1, 1, 1, (1,), 1), StageStarted("warm-up", "lm", None, 1, 2, 10))
    assert progress(reduce_all(RunState(), (*begun, Step("warm-up", 1, 1, 1.0, 5, 1.0)))) == 0.5 * 8 / 9


def test_the_epochs_that_a_resumed_stage_reports_again_count_as_done() -> None:
    (stage,) = reduce_all(RunState(), (STARTED, epoch(1), epoch(2))).stages
    assert (steps_done(stage), stage_progress(stage), seconds_left(stage)) == (10, 0.5, 20.0)


def test_the_time_left_is_the_same_in_the_log_and_in_the_live_line() -> None:
    state = RunState()
    for event in (STARTED, *(Step("block0.lm", 1, step, 3.0, 20, 1.0) for step in range(1, 6)), epoch(1)):
        state = reduce(state, event)
    (stage,) = state.stages
    assert seconds_left(stage) == 30.0  # an epoch took twice its steps' time
    for line in (line_of(epoch(1), state), live_figures(stage)):
        assert line is not None
        assert line.endswith(f"20 tok/s  ETA ≤ {duration(30.0)}")


def test_flops_that_were_saved_are_not_said_to_be_out_of_reach() -> None:
    def line(flops: float, break_even: float | None) -> str:
        return str(line_of(Savings("evaluation", flops, break_even), RunState()))

    assert line(0.2, None) == "evaluation  FLOP savings 20.0%"
    assert line(-0.2, None).endswith("which no exit rate would make positive")
    assert line(0.2, 0.3).endswith("(break-even at 30.0% leaving early)")


def test_what_nobody_told_has_no_end_in_sight() -> None:
    """A loop of somebody else's need not tell how many epochs and steps there will be (`eetui.log`)."""
    begun = StageStarted("training", "lm", None, 0, 0, 0)
    state = reduce_all(RunState(), (begun, *(Step("training", 1, step, 3.0, 20, 1.0) for step in range(1, 500))))
    (stage,) = state.stages
    assert (stage_progress(stage), seconds_left(stage), seconds_so_far(stage)) == (0.0, None, 499.0)
    line = progress_fields(stage, 80, "", PLAIN).plain
    assert ("epoch 1 " in line, "step 499 " in line, "– left" in line) == (True, True, True)
    ended = reduce(state, StageEnded("training", 500.0)).stages[0]
    assert (stage_progress(ended), step_of_epoch(ended)) == (1.0, 499)
    told = Epoch("training", 2, 3.0, 3.0, None, None, True, None, 10.0)
    assert str(line_of(told, state)).startswith("training  epoch 2  loss")


def test_a_stage_that_has_ended_is_at_its_last_step() -> None:
    begun = reduce_all(RunState(), (STARTED, Step("block0.lm", 1, 3, 1.0, 5, 1.0)))
    assert step_of_epoch(begun.stages[0]) == 3
    assert step_of_epoch(reduce(begun, StageEnded("block0.lm", 2.0)).stages[0]) == 5
