"""What the Live screen says, drawn without an app."""

import pytest

from eetui.drawing.palette import Palette
from eetui.live.following import LogLine
from eetui.live.situation import Machine, Situation, stage_rows
from eetui.live.text import facts, facts_line, hint, log_text, patience, queue_line, stage_facts, title
from tests.scripted_runs import scripted, state_of

STYLE = Palette()
ROW = {
    "name": "loss-1", "method": "loss", "seed": 42, "preset": "quick", "status": "running", "error": None,
}  # fmt: skip
FINISHED = state_of(scripted())
MACHINE = Machine("cpu, 1 thread, float32", 300 * 2**20, "peak", 3)


# Title, facts, log, queue


@pytest.mark.parametrize(
    ("status", "situation", "words"),
    [
        ("running", Situation("training"), "▶ training"),
        ("running", Situation("paused"), "‖ paused"),
        ("running", Situation("stopping"), "■ stopping"),
        ("running", Situation(), "▶ training"),
        ("queued", Situation(place=2), "… queued #2"),
        ("finished", Situation(), "✓ finished"),
    ],
)
def test_the_title_says_how_the_run_stands(status: str, situation: Situation, words: str) -> None:
    text = title({**ROW, "status": status}, situation, 78, STYLE).plain
    assert text.startswith(f"{words}  loss-1")
    assert len(text) == 78


def test_the_title_tells_the_reason_of_an_end_and_is_never_too_wide() -> None:
    row = {**ROW, "status": "interrupted", "error": "stopped by the user\nmore"}
    assert "stopped by the user" in title(row, Situation(elapsed=3725.0), 100, STYLE).plain
    assert title(row, Situation(elapsed=3725.0), 40, STYLE).plain.endswith("  1h02m")
    assert len(title(row, Situation(elapsed=3725.0), 40, STYLE).plain) == 40


def test_ppls_name_their_split_and_tokens() -> None:
    table = stage_facts(stage_rows(FINISHED)[0], MACHINE, 54, STYLE, in_lines=True).plain
    assert "early-stop PPL    115.51  all tokens" in table
    assert "all tokens, epoch 3" in table
    assert "peak" in table
    later = next(stage for stage in FINISHED.stages if stage.name == "block1.lm")
    assert "hard tokens" in next(fact.value for fact in facts(later, MACHINE) if fact.label == "early-stop PPL")


def test_patience_is_dots_and_words() -> None:
    assert patience(2, 3) == "●●○ 2 of 3 left"
    assert patience(5, 20) == " 5 of 20 left"


def test_a_line_of_facts_cuts_none_of_them() -> None:
    found = facts(FINISHED.stages[0], MACHINE)
    for width in range(10, 120):
        line = facts_line(found, width, STYLE).plain
        assert len(line) <= width
        assert all(part in [fact.brief for fact in found] for part in line.split(" · ") if part)


def test_facts_of_every_kind_of_stage() -> None:
    briefs = {stage.kind: facts_line(facts(stage, MACHINE), 100, STYLE).plain for stage in FINISHED.stages}
    assert "avg_label 0.1236" in briefs["exit classifier"]
    assert "threshold 0.1300 · hard tokens" in briefs["hard tokens"]
    assert "tok/s" in briefs["statistics"]
    assert "MiB peak" in briefs["evaluation"]


def test_log_lines_carry_a_sign_of_their_kind() -> None:
    kinds = ("event", "warning", "error", "stray")
    assert [log_text(LogLine(kind, "x"), STYLE).plain[0] for kind in kinds] == [" ", "!", "✗", "»"]  # type: ignore[arg-type]


def test_the_queue_in_a_line() -> None:
    assert queue_line([], 0, 80) == ""
    assert queue_line(["loss-2", "softmax-3"], 0, 80).startswith("next: loss-2, softmax-3")
    many = queue_line([f"run-{number}" for number in range(30)], 1, 78, preparing=True)
    assert many.startswith("preparing · 1 to be prepared · next: run-0")
    assert queue_line([], 2, 78) == "2 to be prepared"
    assert "more" in many
    assert len(many) <= 78


def test_the_hint_says_who_trains_the_run() -> None:
    assert hint("running", "process 7 on bench") == "trained by process 7 on bench"
    assert hint("queued", "process 7 on bench") == "waits in process 7 on bench"
    assert "r " in hint("interrupted", None)
