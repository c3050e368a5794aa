"""Thinning: fewer steps, with the same extremes, sums, epochs and order."""

import math
import random

import pytest

from core.events import Epoch, Event, RunInterrupted, RunStarted, StageStarted, Step
from core.state import RunState, reduce_all
from core.store import thinning
from core.store.reader import Reader
from core.store.thinning import bucket_width, thinned
from core.store.writer import Writer
from eetui.live.following import Following
from tests.core.store.recorded import EVENTS, new

STAGE = "block0.lm"


def steps(count: int, epoch: int = 1, first: int = 1) -> list[Step]:
    draw = random.Random(epoch)
    return [Step(STAGE, epoch, number, 4 + draw.random(), 10, 0.25) for number in range(first, first + count)]


def test_the_extremes_of_every_bucket_and_the_last_step_are_kept_with_all_tokens_and_seconds() -> None:
    every = steps(1003)
    kept = list(thinned(every, 16))
    assert len(kept) <= 2 * math.ceil(1003 / 16) + 1
    for start in range(0, 1003, 16):
        losses = [step.loss for step in every[start : start + 16]]
        there = [step.loss for step in kept if start < step.step <= start + 16]
        assert min(losses) in there
        assert max(losses) in there
    assert (kept[-1].step, kept[-1].loss) == (1003, every[-1].loss)
    assert sum(step.tokens for step in kept) == 10_030
    assert math.fsum(step.seconds for step in kept) == pytest.approx(1003 / 4)
    assert [step.step for step in kept] == sorted(step.step for step in kept)


def test_what_is_thinned_again_is_as_if_it_were_thinned_once() -> None:
    every = steps(5000)
    assert [step.step for step in thinned(list(thinned(every, 8)), 64)] == [step.step for step in thinned(every, 64)]


def test_steps_without_a_loss_keep_their_sums() -> None:
    kept = list(thinned([Step(STAGE, 1, number, None, 10, 0.5) for number in range(1, 101)], 32))
    assert sum(step.tokens for step in kept) == 1000
    assert kept[-1].step == 100


@pytest.mark.parametrize("count", [1, 20_000, 10**6, 10**9])
def test_buckets_leave_at_most_half_of_the_limit(count: int) -> None:
    assert 2 * count / bucket_width(count) <= max(thinning.MOST_STEPS / 2, 2)


def test_a_long_stage_is_thinned_as_it_grows_and_its_epochs_are_kept(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader
) -> None:
    monkeypatch.setattr(thinning, "MOST_STEPS", 200)
    (run,) = writer.create_experiment([new()])
    log: list[Event] = [EVENTS[0], StageStarted(STAGE, "lm", 0, 9, 400, 80)]
    for epoch in range(1, 5):
        log += [*steps(400, epoch), Epoch(STAGE, epoch, 4.5, 4.25, None, None, True, 3, 1.0)]
    state, most = RunState(), 0
    following = Following(reader, run)
    for start in range(0, len(log), 23):
        batch = log[start : start + 23]
        state = reduce_all(state, batch)
        writer.append(run, batch, state)
        following.pull()
        most = max(most, len([event for event in reader.events(run)[0] if isinstance(event, Step)]))
    events = reader.events(run)[0]
    assert most <= 200 + 2 * 23
    assert [event for event in events if isinstance(event, Epoch)] == [
        event for event in log if isinstance(event, Epoch)
    ]
    kept = [event for event in events if isinstance(event, Step)]
    assert min(step.loss or 9 for step in kept) == min(event.loss or 9 for event in log if isinstance(event, Step))
    read = reduce_all(RunState(), events).stages[0]
    assert (read.step, read.epoch, read.step_tokens) == (400, 4, state.stages[0].step_tokens)
    assert read.step_seconds == pytest.approx(state.stages[0].step_seconds)
    assert following.state.stages[0].step_tokens == state.stages[0].step_tokens


def test_the_legs_of_a_resumed_run_stay_apart(monkeypatch: pytest.MonkeyPatch, writer: Writer, reader: Reader) -> None:
    monkeypatch.setattr(thinning, "MOST_STEPS", 60)
    (run,) = writer.create_experiment([new()])
    begin = [EVENTS[0], StageStarted(STAGE, "lm", 0, 9, 400, 80)]
    for leg in ([*begin, *steps(50), RunInterrupted("stopped", 1.0)], [*begin, *steps(50)], steps(9, 2)):
        writer.append(run, leg, reduce_all(RunState(), leg))
    kinds = [type(event) for event in reader.events(run)[0] if not isinstance(event, StageStarted)]
    second = kinds.index(RunStarted, 1)
    assert Step in kinds[:second]
    assert Step in kinds[second:]
    assert kinds.count(Step) < 80
