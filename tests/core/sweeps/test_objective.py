"""What a search looks for, and the combinations that meet it best."""

from typing import Any

import pytest

from core.errors import ConfigError
from core.sweeps.objective import front, read_constraint, read_objectives


def cells(*points: tuple[float | None, float]) -> list[dict[str, Any]]:
    """Two seeds of each combination: PPL around a mean, and FLOP savings."""
    return [
        {"point": point, "status": "running" if ppl is None else "finished", "flop_savings": saved,
         "final_ppl": None if ppl is None else ppl + off}
        for point, (ppl, saved) in enumerate(points) for off in (-1.0, 1.0)
    ]  # fmt: skip


def test_metrics_go_by_every_name_that_they_have() -> None:
    for name in ("eval_ppl", "final_ppl", "ppl"):
        (objective,) = read_objectives(name)
        assert (objective.column, objective.higher) == ("final_ppl", False)
    assert [one.higher for one in read_objectives("ppl, flop_savings")] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss", "'loss' is no metric"),
        ("shallow_ratio", "neither better low nor high"),
        ("ppl,eval_ppl", "names a metric twice"),
        ("flop_saving", "did you mean flop_savings"),
    ],
)
def test_objectives_that_can_not_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_objectives(text)


@pytest.mark.parametrize("text", ["nonsense>=1", "flop_savings", "flop_savings=0.3", "flop_savings>=much", "ppl<=nan"])
def test_constraints_that_can_not_be_meant_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--constraint"):
        read_constraint(text)


def test_a_constraint_is_kept_at_its_bound() -> None:
    least, most = read_constraint("flop_savings>=30%"), read_constraint("ppl<=20")
    assert (least.violation(0.3), most.violation(20.0)) == (0, 0)
    assert least.violation(0.2) > 0 < most.violation(21)


def test_the_best_is_the_best_of_those_that_keep_the_constraint_and_are_finished() -> None:
    found = cells((10, 0.1), (12, 0.3), (11, 0.4), (None, 0.9))
    assert front(found, read_objectives("ppl")) == [0]
    assert front(found, read_objectives("ppl"), [read_constraint("flop_savings>=0.3")]) == [2]


def test_several_objectives_have_a_front() -> None:
    assert front(cells((10, 0.1), (12, 0.3), (11, 0.4), (10, 0.05)), read_objectives("ppl,flop_savings")) == [0, 2]
