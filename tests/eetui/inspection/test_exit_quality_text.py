"""The text of what an exit's signal is worth."""

import numpy as np
import pytest

from core.analysis.exit_quality import Meaning
from core.analysis.reliability import reliability
from core.analysis.run_quality import judge_exit
from core.costs import PricedCosts
from eetui.inspection.exit_quality_text import bar, diagram, quality_text
from tests.core.analysis.tables import random_table


@pytest.mark.parametrize(
    ("claimed", "found", "drawn"),
    [(1.0, 0.5, "████   │"), (0.5, 1.0, "███┃████"), (0.0, 0.0, "│"), (1.0, 1.0, "███████┃")],
)
def test_a_bar_ends_at_what_is_found_and_a_stroke_is_at_what_is_claimed(
    claimed: float, found: float, drawn: str
) -> None:
    assert bar(claimed, found, 8) == drawn


@pytest.mark.parametrize(
    ("claimed", "found", "drawn"), [(0.25, 0.75, "  │ ██"), (0.75, 0.25, "  ██ │"), (0.25, 0.25, "  ┃█")]
)
def test_a_bar_begins_at_zero_wherever_that_is(claimed: float, found: float, drawn: str) -> None:
    assert bar(claimed, found, 8, zero=0.5) == drawn


def test_every_group_is_a_line_and_all_lines_fit() -> None:
    claimed = np.linspace(0, 0.05, 1000, dtype=np.float32)
    found = reliability(claimed, claimed * 2)
    for width in (40, 60, 78, 120):
        lines = diagram(found, "p(target)", width).plain.splitlines()
        assert len(lines) == 11
        assert max(map(len, lines)) <= width
        assert ("█" in lines[-1]) == (width >= 50)


def test_figures_are_those_of_the_judgement() -> None:
    table = random_table(3)
    judged = judge_exit(table, 1, Meaning("agrees"))
    text = quality_text(judged, 78).plain
    assert f"block right {judged.exit.correct.auroc:.3f}" in text
    assert f"next no better {judged.exit.next_no_better.auroc:.3f}" in text
    assert f"{judged.exit.signal.error:.4f}" in text
    assert f"{judged.overthinking.destructive:.2%}" in text
    assert "agrees" in text
    assert judged.exit.signal.counts.sum() == table.tokens
    agree = table.prediction[1] == table.prediction[2]
    assert judged.exit.signal.found @ judged.exit.signal.counts == pytest.approx(float(agree.sum()))


def test_a_gain_is_shown_in_nats_claimed_against_realised() -> None:
    table = random_table(3)
    judged = judge_exit(table, 1, Meaning("price", costs=PricedCosts((0.3, 0.6, 1.0), (0.0, 0.0))))
    text = quality_text(judged, 100).plain
    assert judged.exit.signal.counts.sum() == table.tokens
    assert judged.exit.signal is not None
    found = judged.exit.signal
    assert abs(found.bias) < found.error - 1e-3, "as groups err both ways"
    assert f"ECE (bias)    gain {found.error:.4f} nats ({found.bias:+.4f}), largest probability 0." in text
    assert text.splitlines()[3].split()[:4] == ["tokens", "claimed", "gain,", "nats"]
    for line in text.splitlines():
        assert len(line) <= 100


def test_an_order_is_ranked_and_nothing_more() -> None:
    judged = judge_exit(random_table(3), 1, Meaning("rank"))
    text = quality_text(judged, 78).plain
    assert judged.exit.signal is None
    assert len(text.splitlines()) == 3
    assert "signal claims an order only, largest probability" in text
