"""Progress of a run and its stages, and the time a stage takes: one function for each figure."""

from core.events import PlannedStage
from core.state import RunState, StageState

LM_WEIGHT = 8
"""Weight of a stage that trains a language model; any other stage weighs 1."""
RECENT_EPOCHS = 5
"""Number of epochs whose mean time predicts the next ones'."""


def progress(state: RunState) -> float:
    """Return the share of a run's planned stages that is done, weighted by kind."""
    if state.started is None:
        return 0.0
    planned = state.started.stages
    done = {stage.name: stage_progress(stage) for stage in state.stages}
    total = sum(_weight(stage) for stage in planned)
    return sum(_weight(stage) * done.get(stage.name, 0.0) for stage in planned) / total if total else 0.0


def _weight(stage: PlannedStage) -> int:
    return LM_WEIGHT if stage.kind == "lm" else 1


def stage_progress(stage: StageState) -> float:
    """Return the share of a stage's steps that is done; 1 once it has ended, even if it stopped early.

    It is 0 before that where nobody told how many there are.
    """
    if stage.seconds is not None:
        return 1.0
    return min(steps_done(stage) / all_steps(stage), 1.0) if all_steps(stage) else 0.0


def steps_done(stage: StageState) -> int:
    """Return the number of completed steps, out of `all_steps`."""
    epochs = len(stage.history)
    return epochs * stage.steps + (stage.step if stage.epoch > epochs else 0)


def step_of_epoch(stage: StageState) -> int:
    """Return the step of its epoch that a stage is at: the last one once it has ended, whether it was told or not."""
    return stage.step if stage.seconds is None or not stage.steps else stage.steps


def epoch_now(stage: StageState) -> int:
    """Return the epoch that a stage is in."""
    return min(max(stage.epoch, 1), stage.epochs) if stage.epochs else max(stage.epoch, 1)


def all_steps(stage: StageState) -> int:
    """Return the number of steps of a stage that does not stop early; 0 where nobody told it."""
    return stage.epochs * stage.steps


def seconds_so_far(stage: StageState) -> float | None:
    """Return the time a stage has taken; None before its first step."""
    if stage.seconds is not None:
        return stage.seconds
    done = steps_done(stage)
    if not done:
        return None
    in_epoch = done - len(stage.history) * stage.steps
    return sum(epoch.seconds for epoch in stage.history) + in_epoch * stage.step_seconds / done


def seconds_left(stage: StageState) -> float | None:
    """Return the time to the end of a stage without early stopping; includes validation once an epoch is complete."""
    done = steps_done(stage)
    if stage.seconds is not None or not done or not all_steps(stage):
        return None
    recent = stage.history[-RECENT_EPOCHS:]
    if recent:
        a_step = sum(epoch.seconds for epoch in recent) / (len(recent) * stage.steps)
    else:
        a_step = stage.step_seconds / done
    return max(all_steps(stage) - done, 0) * a_step


def bound_sign(stage: StageState) -> str:
    """Return `≤` if the stage may stop early, so that its time left is an upper bound; else an empty string."""
    return "≤" if stage.kind == "lm" else ""
