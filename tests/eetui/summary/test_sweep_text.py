"""A sweep in lines: its table, views and importance."""

from core.metrics import FINAL_PPL
from core.store.stored_sweeps import StoredSweep
from core.sweeps.heat import heat_table
from core.sweeps.importance import Importance
from core.sweeps.purposes import best_by_purpose
from eetui.summary.sweep_text import importance_lines, sweep_lines, view_lines
from tests.core.sweeps.made_up import grid

AXES = {"method": ["loss", "gain\x1b[31m"], "exit.hard_ratio": [0.3, 0.7]}
FOUND = grid(AXES, 2, lambda s, seed: None if s["exit.hard_ratio"] == 0.3 and seed else {
    "final_ppl": 30 + 10 * s["exit.hard_ratio"] + seed / 8, "flop_savings": s["exit.hard_ratio"],
})  # fmt: skip
SWEEP = StoredSweep(1, "night\x1b", {"search": None, "axes": AXES}, 0.0)


def test_each_view_has_its_lines_and_marks_and_nothing_that_a_terminal_obeys() -> None:
    lines = [*sweep_lines(SWEEP, FOUND, 200), *view_lines(FOUND, heat_table(FOUND), best_by_purpose(FOUND))]
    text = "\n".join(lines)
    assert lines[0] == "night\N{REPLACEMENT CHARACTER} (sweep 1): 6 finished, 2 running"
    assert "\x1b" not in text
    assert "hard_ratio \\ method" in text
    assert any(line.startswith("0.3") and line.count("33.00 █★°") == 2 for line in lines)
    assert any(line.startswith("●  loss 0.7") and line.endswith("2/2") for line in lines)
    assert "· best PPL: as good may be gain\N{REPLACEMENT CHARACTER}[31m 0.7; the difference may be noise" in text


def test_what_is_not_there_yet_is_said() -> None:
    empty = grid({"method": ["loss"]}, 1, lambda setting, seed: None)
    assert (
        sum(
            line.startswith(("No table", "No front", "Nothing to choose"))
            for line in view_lines(empty, heat_table(empty), ())
        )
        == 3
    )


def test_importance_has_a_bar_for_each_field() -> None:
    lines = list(importance_lines(Importance(FINAL_PPL, "PED-ANOVA", 12, {"exit.hard_ratio": 0.75, "method": 0.25})))
    assert lines[1] == "Importance: PED-ANOVA (Optuna) over 12 combinations: share in the loss in nats, mean over seeds"
    assert lines[2].split() == ["hard_ratio", "━" * 18, "75.0%"]
    assert lines[3].split() == ["method", "━" * 6, "25.0%"]
