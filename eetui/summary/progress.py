"""How far a run and its stages are, and how long they still take."""

from core.state import RunState, StageState

LM_WEIGHT = 8
"""A language model stage takes about as long as so many other stages."""


def progress(state: RunState) -> float:
    """Share of a run's work that is done: its planned stages, those that train a language model weighing most."""
    if state.started is None:
        return 0.0
    planned = state.started.stages
    done = {stage.name: _stage_progress(stage) for stage in state.stages}
    total = sum(_weight(name) for name in planned)
    return sum(_weight(name) * done.get(name, 0.0) for name in planned) / total if total else 0.0


def _weight(stage: str) -> int:
    return LM_WEIGHT if stage.endswith(".lm") else 1


def _stage_progress(stage: StageState) -> float:
    """By epochs, and by steps within the epoch in progress."""
    if stage.seconds is not None:
        return 1.0
    whole = len(stage.history)
    part = stage.step / stage.steps if stage.epoch > whole and stage.steps else 0.0
    return min(1.0, (whole + part) / stage.epochs) if stage.epochs else 0.0


def steps_done(stage: StageState) -> int:
    """Steps completed, of `stage.epochs * stage.steps`."""
    epochs = len(stage.history)
    return epochs * stage.steps + (stage.step if stage.epoch > epochs else 0)


def fraction(stage: StageState) -> float:
    """How much of a stage's upper bound is done; all of it once it has ended."""
    if stage.seconds is not None:
        return 1.0
    return min(steps_done(stage) / max(stage.epochs * stage.steps, 1), 1.0)


def seconds_so_far(stage: StageState) -> float | None:
    """What the stage has taken, or took; None before its first step."""
    if stage.seconds is not None:
        return stage.seconds
    if not steps_done(stage):
        return None
    in_epoch = steps_done(stage) - len(stage.history) * stage.steps
    return sum(epoch.seconds for epoch in stage.history) + in_epoch * stage.step_seconds / steps_done(stage)


def seconds_left(stage: StageState) -> float | None:
    """Time to the end of the stage, early stopping aside; validation counts once an epoch is through."""
    done = steps_done(stage)
    if stage.seconds is not None or not done:
        return None
    recent = stage.history[-5:]
    if recent:
        a_step = sum(epoch.seconds for epoch in recent) / (len(recent) * stage.steps)
    else:
        a_step = stage.step_seconds / done
    return max(stage.epochs * stage.steps - done, 0) * a_step
