"""Progress of a run and of its stages, and the time a stage takes: each figure has one function here."""

from core.events import PlannedStage
from core.state import RunState, StageState

LM_WEIGHT = 8
"""A language model stage takes about as long as so many other stages."""
RECENT_EPOCHS = 5
"""Epochs whose mean time tells how long the next ones take."""


def progress(state: RunState) -> float:
    """Share of a run's work that is done: its planned stages, those that train a language model weighing most."""
    if state.started is None:
        return 0.0
    planned = state.started.stages
    done = {stage.name: stage_progress(stage) for stage in state.stages}
    total = sum(_weight(stage) for stage in planned)
    return sum(_weight(stage) * done.get(stage.name, 0.0) for stage in planned) / total if total else 0.0


def _weight(stage: PlannedStage) -> int:
    return LM_WEIGHT if stage.kind == "lm" else 1


def stage_progress(stage: StageState) -> float:
    """Share of a stage's steps that is done; 1 once it has ended, even if it stopped early."""
    if stage.seconds is not None:
        return 1.0
    return min(steps_done(stage) / max(all_steps(stage), 1), 1.0)


def steps_done(stage: StageState) -> int:
    """Steps completed, of `all_steps`."""
    epochs = len(stage.history)
    return epochs * stage.steps + (stage.step if stage.epoch > epochs else 0)


def all_steps(stage: StageState) -> int:
    """Steps of a stage that does not stop early."""
    return stage.epochs * stage.steps


def seconds_so_far(stage: StageState) -> float | None:
    """What the stage has taken, or took; None before its first step."""
    if stage.seconds is not None:
        return stage.seconds
    done = steps_done(stage)
    if not done:
        return None
    in_epoch = done - len(stage.history) * stage.steps
    return sum(epoch.seconds for epoch in stage.history) + in_epoch * stage.step_seconds / done


def seconds_left(stage: StageState) -> float | None:
    """Time to the end of the stage, early stopping aside; validation counts once an epoch is through."""
    done = steps_done(stage)
    if stage.seconds is not None or not done:
        return None
    recent = stage.history[-RECENT_EPOCHS:]
    if recent:
        a_step = sum(epoch.seconds for epoch in recent) / (len(recent) * stage.steps)
    else:
        a_step = stage.step_seconds / done
    return max(all_steps(stage) - done, 0) * a_step


def bound_sign(stage: StageState) -> str:
    """`≤` where the stage may stop early, so that its time left is an upper bound; else nothing."""
    return "≤" if stage.kind == "lm" else ""
