"""The front, the best of a sweep by purpose, and what may be noise."""

from collections.abc import Mapping
from typing import Any

from core.metrics import FINAL_PPL, FLOP_SAVINGS
from core.sweeps.combinations import title
from core.sweeps.purposes import best_by_purpose, savings_front
from tests.core.sweeps.made_up import grid


def figures(setting: Mapping[str, Any], seed: int) -> dict[str, float]:
    """PPL 100, 100.5, 102 and 110 at FLOP savings 0.1 to 0.4, with a small spread over seeds."""
    step = setting["exit.hard_ratio"]
    return {"final_ppl": {1: 100, 2: 100.5, 3: 102, 4: 110}[step] + seed * 0.1, "flop_savings": step / 10 + seed * 1e-4}


SWEEP = grid({"exit.hard_ratio": [1, 2, 3, 4]}, 3, figures)


def test_each_purpose_has_its_best_within_what_it_allows() -> None:
    chosen = {one.purpose: title(one.best) for one in best_by_purpose(SWEEP, within=0.03)}
    assert chosen == {
        "best PPL": "1",
        "most FLOPs saved, PPL within 3% of the best": "3",
    }


def test_what_noise_may_explain_is_as_good() -> None:
    noisy = grid({"method": ["a", "b"]}, 3, lambda s, seed: {"final_ppl": 100 + (s["method"] == "b") * (seed - 0.9)})
    (best,) = best_by_purpose(noisy)
    assert (best.metric, title(best.best), [title(one) for one in best.as_good]) == (FINAL_PPL, "a", ["b"])


def test_one_seed_can_not_be_told_from_noise() -> None:
    (best, *_) = best_by_purpose(grid({"exit.hard_ratio": [1, 4]}, 1, figures))
    assert best.ranking.unknown == (1,)
    assert [title(one) for one in best.as_good] == ["4"]


def test_only_combinations_whose_runs_have_all_finished_are_chosen() -> None:
    half = grid(
        {"exit.hard_ratio": [1, 4]}, 2, lambda s, seed: None if s["exit.hard_ratio"] == 1 and seed else figures(s, seed)
    )
    assert next(title(one.best) for one in best_by_purpose(half)) == "4"
    assert best_by_purpose(grid({"method": ["a"]}, 1, lambda s, seed: None)) == ()


def test_the_front_is_what_none_beats_in_both() -> None:
    beaten = grid({"exit.hard_ratio": [1, 2, 3, 4], "method": ["a", "b"]}, 1, lambda s, seed: {
        **figures(s, seed), "final_ppl": figures(s, seed)["final_ppl"] + (s["method"] == "b")
    })  # fmt: skip
    points = savings_front(beaten)
    assert [one.point for one in points if one.on_front] == [0, 2, 4, 6]
    assert [one.savings.mean for one in points] == sorted(one.savings.mean for one in points)
    assert len(points) == 8
    assert FLOP_SAVINGS.better == "higher"
