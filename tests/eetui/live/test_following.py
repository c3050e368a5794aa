"""Following a run through its event log."""

from functools import reduce as fold
from pathlib import Path

import pytest

from core.events import Epoch, Event, RunInterrupted, RunStarted, StageStarted, Step, Warned
from core.state import RunState, StageState, reduce
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.live.following import Following
from eetui.summary.progress import seconds_left, seconds_so_far, stage_progress
from tests.scripted_runs import PLANNED, add, append, scripted, until


class Log:
    """An event log in memory, one entry per event."""

    def __init__(self, *events: Event) -> None:
        self.entries = list(events)

    def events(self, run: int, after: int = 0, *, limit: int = -1) -> tuple[list[Event], int]:
        found = self.entries[after:] if limit < 0 else self.entries[after : after + limit]
        return found, after + len(found)


def followed(*events: Event) -> Following:
    following = Following(Log(*events), 1)
    while following.pull():
        pass
    return following


def test_a_followed_run_ends_in_the_state_of_its_events() -> None:
    events = list(scripted())
    expected = fold(reduce, events, RunState())
    assert followed(*events).state == expected


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    events = list(scripted())
    half = until(iter(events), "block0.lm", 2)
    with Writer(tmp_path / "runs.db") as writer:
        run = add(writer, half)
        with Reader(tmp_path / "runs.db") as reader:
            following = Following(reader, run)
            assert following.pull()
            assert not following.pull()
            assert following.state.stages[-1].epoch == 2
            append(writer, run, events[len(half) :], half)
            assert following.pull()
            assert following.state == fold(reduce, events, RunState())


def test_a_long_log_is_caught_up_with_in_parts() -> None:
    events = list(scripted())
    following = Following(Log(*events), 1)
    following.pull(entries=10)
    assert following.behind
    while following.behind:
        following.pull(entries=10)
    assert following.state.status == "finished"


def test_step_losses_become_curves_over_epochs() -> None:
    curve = followed(*until(scripted(epochs=2, steps=5), "block0.lm", 2)).curves["block0.lm"]
    x, _ = curve.means()
    assert list(x) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])


def test_steps_without_a_loss_make_no_curve() -> None:
    assert "block0.statistics" not in followed(*scripted()).curves


def test_a_resumed_run_starts_over_in_state_and_curves_but_its_log_goes_on() -> None:
    half = until(scripted(), "block0.lm", 2)
    following = followed(*half, RunInterrupted("stopped by the user", 2.0), *half[:1])
    assert following.state.status == "running"
    assert following.state.stages == ()
    assert following.curves == {}
    assert [line.text for line in following.lines if "interrupted" in line.text] == ["interrupted: stopped by the user"]


def test_the_log_has_a_line_for_what_is_worth_one() -> None:
    following = followed(*scripted(), Warned("beware"))
    texts = [line.text for line in following.lines]
    assert texts[0].startswith("starts: 64,000 training")
    assert sum("block0.lm  epoch" in text for text in texts) == 4
    assert not any("ETA" in text for text in texts)
    assert following.lines[-1].kind == "warning"
    assert following.lines[-1].text == "beware"


def test_the_log_is_bounded_and_counts_what_it_dropped() -> None:
    following = followed(*(Warned(str(number)) for number in range(2000)))
    assert len(following.lines) == 500
    assert following.lines_seen == 2000
    assert following.lines[-1].text == "1999"


def test_following_ten_times_as_many_steps_takes_no_more_memory() -> None:
    events: list[Event] = [RunStarted(PLANNED, 1, 1, 1, (2, 2), 1), StageStarted("block0.lm", "lm", 0, 1, 50_000, 1)]
    following = followed(*events, *(Step("block0.lm", 1, step, 4.0, 1, 0.1) for step in range(1, 50_001)))
    assert len(following.curves["block0.lm"]) <= 2048
    assert following.state.stages[0].step == 50_000
    assert following.state.stages[0].step_tokens == 50_000


def stage(epochs_done: int, step: int, kind: str = "lm") -> StageState:
    """Return a stage of ten epochs of four steps; a step takes 1 s, an epoch 5 s with its validation."""
    history = tuple(Epoch("s", n, 4.0, 4.0, None, None, True, 3, 5.0) for n in range(1, epochs_done + 1))
    steps = epochs_done * 4 + step
    epoch = epochs_done + (step > 0)
    done = step or 4
    return StageState("s", kind, 0, 10, 4, 100, False, epoch, done, 4.0, steps, float(steps), history)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epochs", "step", "share", "took", "left"),
    [(0, 1, 1 / 40, 1.0, 39.0), (2, 0, 0.2, 10.0, 40.0), (2, 2, 0.25, 12.0, 37.5), (10, 0, 1.0, 50.0, 0.0)],
)
def test_progress_of_a_stage(epochs: int, step: int, share: float, took: float, left: float) -> None:
    now = stage(epochs, step)
    assert stage_progress(now) == pytest.approx(share)
    assert seconds_so_far(now) == pytest.approx(took)
    assert seconds_left(now) == pytest.approx(left)


def test_a_stage_before_its_first_step_has_no_times() -> None:
    now = StageState("s", "lm", 0, 10, 4, 100)
    assert (stage_progress(now), seconds_so_far(now), seconds_left(now)) == (0.0, None, None)
