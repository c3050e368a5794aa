"""The state of a run, folded from its events."""

import math
from dataclasses import replace
from functools import reduce as fold

import pytest

from core.events import (
    Epoch,
    Event,
    Measured,
    Profiled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.formulas import perplexity, share_of_layers_saved
from core.protocol.order import EVALUATION, block_stage
from core.state import RunState, joined, reduce, reduce_all

STARTED = RunStarted((block_stage(0, "lm"), EVALUATION), 100, 20, 30, (1, 1), 999)
LM = StageStarted("block0.lm", "lm", 0, epochs=5, steps=2, tokens=80)
HARD = StageStarted("block0.hard", "hard tokens", 0, epochs=1, steps=1, tokens=80)
MEASURED = Measured("evaluation", "early exit", None, "eval", "all", 20, 2.0, 0.25, (0.5, 0.5), 0.25, (1.0, 3.0))


def epoch(number: int, val_loss: float | None, improved: bool, avg_label: float | None = None) -> Epoch:
    return Epoch("block0.lm", number, 1.0, val_loss, None, avg_label, improved, 3, 0.5)


def after(*events: Event) -> RunState:
    return fold(reduce, events, RunState())


def test_many_events_at_once_do_what_they_do_one_by_one() -> None:
    steps = [Step("block0.lm", epoch, step, 5 / epoch, 20, 0.25) for epoch in (1, 2) for step in (1, 2)]
    events = [STARTED, LM, *steps[:2], epoch(1, 2.0, True), *steps[2:], epoch(2, 1.5, True), MEASURED, HARD]
    events += [Step("block0.hard", 1, 1, None, 80, 0.5), RunFinished(3.0, 5000)]
    for end in range(len(events) + 1):
        assert reduce_all(RunState(), events[:end]) == after(*events[:end])
    steps_left = [event for event in joined(events) if isinstance(event, Step)]
    assert [(step.epoch, step.step, step.tokens) for step in steps_left] == [(1, 2, 40), (2, 2, 40), (1, 1, 80)]


def test_a_run_without_events_is_queued() -> None:
    assert after().status == "queued"
    assert after().stages == ()
    assert after().final is None


def test_a_started_run_is_running() -> None:
    state = after(STARTED)
    assert (state.status, state.started) == ("running", STARTED)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (RunFinished(3.0, 5000), RunState("finished", STARTED, seconds=3.0, peak_memory=5000)),
        (RunFailed("it broke", "", 3.0), RunState("failed", STARTED, seconds=3.0, error="it broke")),
        (
            RunFailed("bug", "Traceback", 3.0),
            RunState("failed", STARTED, seconds=3.0, error="bug", traceback="Traceback"),
        ),
        (RunInterrupted("stopped", 3.0), RunState("interrupted", STARTED, seconds=3.0, error="stopped")),
    ],
)
def test_a_terminal_event_sets_status_and_reason(event: Event, expected: RunState) -> None:
    assert after(STARTED, event) == expected


def test_a_run_can_end_before_it_starts() -> None:
    assert after(RunInterrupted("stopped", 0.0)).status == "interrupted"


def test_starting_again_forgets_what_was() -> None:
    assert after(STARTED, LM, Warned("hm"), STARTED) == after(STARTED)


def test_reducing_does_not_change_the_state_before() -> None:
    before = after(STARTED, LM)
    reduce(before, epoch(1, 3.0, True))
    assert before == after(STARTED, LM)
    assert before.stages[0].history == ()


def test_steps_move_the_stage_and_add_up() -> None:
    state = after(STARTED, LM, Step("block0.lm", 1, 1, 3.5, 40, 0.5), Step("block0.lm", 1, 2, 3.0, 40, 1.5))
    stage = state.stages[0]
    assert (stage.epoch, stage.step, stage.step_loss) == (1, 2, 3.0)
    assert (stage.step_tokens, stage.step_seconds, stage.tokens_per_second) == (80, 2.0, 40.0)


def test_a_stage_that_has_no_steps_has_no_rate() -> None:
    assert after(STARTED, LM).stages[0].tokens_per_second is None


def test_epochs_gather_in_the_history_of_their_own_stage() -> None:
    events = [epoch(1, 3.0, True), epoch(2, 2.5, True), epoch(3, 2.6, False)]
    state = after(STARTED, LM, HARD, *events)
    assert state.stages[0].history == tuple(events)
    assert state.stages[0].epoch == 3
    assert state.stages[1].history == ()


def test_the_best_epoch_is_the_last_that_improved() -> None:
    events = [epoch(1, 3.0, True), epoch(2, 2.5, True), epoch(3, 2.6, False)]
    stage = after(STARTED, LM, *events).stages[0]
    assert stage.best == events[1]
    assert stage.val_ppl == pytest.approx(math.exp(2.5))


def test_without_a_validation_loss_there_is_no_validation_ppl() -> None:
    assert after(STARTED, LM).stages[0].best is None
    assert after(STARTED, LM).stages[0].val_ppl is None
    assert after(STARTED, LM, epoch(1, None, True)).stages[0].val_ppl is None


def test_avg_label_is_the_last_epoch_s() -> None:
    assert after(STARTED, LM).stages[0].avg_label is None
    assert after(STARTED, LM, epoch(1, 3.0, True, 0.1), epoch(2, 3.1, False, 0.2)).stages[0].avg_label == 0.2


def test_a_threshold_and_the_end_belong_to_their_stage() -> None:
    threshold = Threshold("block0.hard", 0, 0.2, 80, 40, (80,))
    lm, hard = after(STARTED, LM, HARD, threshold, StageEnded("block0.hard", 1.5)).stages
    assert (hard.threshold, hard.seconds) == (threshold, 1.5)
    assert (lm.threshold, lm.seconds) == (None, None)


def test_a_reused_stage_says_so() -> None:
    assert after(STARTED, replace(LM, reused=True)).stages[0].reused
    assert not after(STARTED, LM).stages[0].reused


def test_stages_are_found_by_kind_and_block() -> None:
    state = after(STARTED, LM, HARD)
    assert state.stage("lm", 0) == state.stages[0]
    assert state.stage("lm", 1) is None
    assert state.stage("hard tokens", 0) == state.stages[1]


def test_measurements_are_found_by_their_way_and_do_not_keep_their_windows() -> None:
    other = replace(MEASURED, way="oracle")
    trained = replace(MEASURED, way="as trained", block=1)
    state = after(STARTED, replace(trained, split="train"), other, trained, MEASURED)
    assert state.final == MEASURED.without_windows()
    assert state.measure("oracle") == other.without_windows()
    assert state.measure("as trained", 1) == trained.without_windows()
    assert state.measure("as trained", 0) is None
    assert state.measure("all blocks") is None
    assert MEASURED.shallow_ratio == 0.5


def test_statistics_of_tokens_change_nothing() -> None:
    state = after(STARTED, LM)
    assert reduce(state, TokensMeasured(0, b"", b"", b"", b"")) is state


def test_a_run_that_is_resumed_counts_from_its_last_start() -> None:
    leg = (STARTED, LM, epoch(1, 3.0, True), MEASURED)
    assert after(*leg, RunInterrupted("stopped", 3.0), *leg, RunFinished(1.0, 5)) == after(*leg, RunFinished(1.0, 5))


def test_warnings_gather_in_order() -> None:
    assert after(STARTED, Warned("a"), Warned("b")).warnings == ("a", "b")


def test_a_perplexity_too_large_for_a_float_is_infinite() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(800.0) == math.inf


def test_layers_saved_weigh_each_exit_by_its_depth() -> None:
    assert share_of_layers_saved((0.5, 0.5), (2, 2)) == pytest.approx(0.25)
    assert share_of_layers_saved((0.2, 0.3, 0.5), (1, 2, 3)) == pytest.approx(1 - (0.2 * 1 + 0.3 * 3 + 0.5 * 6) / 6)
    assert share_of_layers_saved((0.0, 1.0), (2, 2)) == 0


def test_flops_per_second_are_those_of_the_steps_seen() -> None:
    begun = replace(LM, flops=100.0)
    steps = (Step("block0.lm", 1, 1, 3.5, 40, 0.5), Step("block0.lm", 1, 2, 3.0, 40, 0.25))
    (stage,) = after(STARTED, begun).stages
    assert stage.flops_per_second is None
    (stage,) = after(STARTED, begun, *steps).stages
    assert stage.flops_per_second == pytest.approx(80 * 100 / 0.75)
    (stage,) = after(STARTED, LM, *steps).stages
    assert stage.flops_per_second is None


def test_a_profile_belongs_to_its_stage() -> None:
    profile = Profiled("block0.hard", 1.0, ("signal",), (0.5,), (0.0,))
    lm, hard = after(STARTED, LM, HARD, profile).stages
    assert (lm.profile, hard.profile) == (None, profile)
