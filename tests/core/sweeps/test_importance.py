"""Importance of what a sweep varies: shares where there are enough combinations, else a sentence."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest

from core.errors import UsageError
from core.metrics import FINAL_PPL
from core.sweeps.importance import FEWEST, importance
from tests.core.sweeps.made_up import grid

AXES = {"method": ["a", "b", "c"], "exit.hard_ratio": [0.3, 0.5, 0.7], "model.block_layers": [[1, 1]]}


def ppl(setting: Mapping[str, Any], seed: int) -> dict[str, float]:
    return {"final_ppl": 100 + 50 * setting["exit.hard_ratio"] + (setting["method"] == "b") + seed}


@pytest.mark.parametrize("fanova", [True, False])
def test_what_moves_the_figure_most_comes_first(fanova: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    there = importlib.util.find_spec
    if fanova:
        pytest.importorskip("sklearn")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else there(name))
    found = importance(grid(AXES, 2, ppl), FINAL_PPL)
    assert list(found.shares) == ["exit.hard_ratio", "method"]  # the only list of layers is no choice
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["exit.hard_ratio"] > 0.8
    assert (found.evaluator, found.combinations) == ("fANOVA" if fanova else "PED-ANOVA", 9)


def test_what_it_takes_is_said() -> None:
    few = {"exit.hard_ratio": [n / 10 for n in range(FEWEST - 1)], "method": ["a"]}
    with pytest.raises(UsageError, match=r"takes 8 combinations or more .*, and there are 7"):
        importance(grid(few, 1, ppl), FINAL_PPL)
    with pytest.raises(UsageError, match="is the same for all 9"):
        importance(grid(AXES, 1, lambda setting, seed: {"final_ppl": 3.0}), FINAL_PPL)
    with pytest.raises(UsageError, match="there are none"):
        importance(grid(AXES, 1, lambda setting, seed: None), FINAL_PPL)


def test_where_optuna_is_missing_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'eetui\[sweep\]'"):
        importance(grid(AXES, 1, ppl), FINAL_PPL)
