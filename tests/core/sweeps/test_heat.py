"""The heat table: axes, averages, order and stars."""

from collections.abc import Mapping
from typing import Any

import pytest

from core.errors import UsageError
from core.metrics import ACCURACY, FINAL_PPL, SHALLOW_RATIO, Value
from core.sweeps.combinations import combinations
from core.sweeps.heat import RANGES, chosen_axes, heat_table
from tests.core.sweeps.made_up import cell, grid

AXES = {"method": ["loss", "gain"], "exit.hard_ratio": [0.7, 0.3], "train.lr": [1e-3, 3e-3]}


def ppl(setting: Mapping[str, Any], seed: int) -> dict[str, float]:
    level = 100 * setting["exit.hard_ratio"] + (10 if setting["method"] == "gain" else 0)
    return {"final_ppl": level + 1000 * setting["train.lr"] + seed / 8, "accuracy": 0.2}


def test_the_method_stands_across_numbers_down_by_size_and_the_rest_is_averaged() -> None:
    table = heat_table(grid(AXES, 2, ppl))
    assert table is not None
    assert (table.rows.labels, table.columns.labels) == (("0.3", "0.7"), ("loss", "gain"))
    assert table.averaged == ("train.lr",)
    assert table.metric == FINAL_PPL
    first = table.cells[0][0]
    assert first is not None
    assert first.value == Value(30 + 2 + 1 / 16, pytest.approx(0.08838834764831845))  # over seeds 0 and 1/8
    assert (first.finished, first.runs, first.points) == (4, 4, (2, 3))


def test_the_best_cell_is_warmest_and_only_what_is_clearly_worse_has_no_star() -> None:
    table = heat_table(grid(AXES, 2, ppl))
    assert table is not None
    warmth = [[found.warmth for found in row if found] for row in table.cells]
    assert warmth == [[1.0, 2 / 3], [1 / 3, 0.0]]
    assert [[found.leads for found in row if found] for row in table.cells] == [[True, False], [False, False]]
    noisy = heat_table(
        grid(
            {"method": ["loss", "gain"]}, 3, lambda s, seed: {"final_ppl": 30 + (s["method"] == "gain") * (seed - 0.9)}
        )
    )
    assert noisy is not None
    assert [found.leads for row in noisy.cells for found in row if found] == [True, True]


def test_accuracy_is_better_high_and_a_metric_without_direction_has_no_best() -> None:
    found = grid(
        {"method": ["loss", "gain"]},
        2,
        lambda s, seed: {"accuracy": 0.2 if s["method"] == "gain" else 0.1, "shallow_ratio": 0.5},
    )
    high, none = heat_table(found, ACCURACY), heat_table(found, SHALLOW_RATIO)
    assert high is not None
    assert none is not None
    assert [one.warmth for row in high.cells for one in row if one] == [0.0, 1.0]
    assert [one.warmth for row in none.cells for one in row if one] == [None, None]


def test_many_numbers_become_ranges_even_in_the_logarithm_where_they_span_much() -> None:
    found = grid(
        {"train.lr": [10 ** -(step / 10) for step in range(41)]}, 1, lambda s, seed: {"final_ppl": s["train.lr"]}
    )
    table = heat_table(found)
    assert table is not None
    assert len(table.rows.labels) == RANGES
    assert table.rows.labels[0] == "0.0001–0.000316"
    assert sum(one.runs for row in table.cells for one in row if one) == 41
    assert {one.runs for row in table.cells for one in row if one} <= {4, 5, 6}


def test_cells_of_other_windows_are_shown_but_not_ranked() -> None:
    texts = ["a", "a", "b"]
    found = combinations([
        cell(n, n, {"data.corpus": f"{n}.txt"}, 1, {"final_ppl": 10.0 - n}, windows=text)
        for n, text in enumerate(texts)
    ])  # fmt: skip
    table = heat_table(found)
    assert table is not None
    assert [one.warmth for row in table.cells for one in row if one] == [0.0, 1.0, None]
    assert table.others == 1


def test_what_has_not_finished_is_counted_and_what_diverged_is_not_the_best() -> None:
    figures = {0.1: {"final_ppl": float("inf")}, 0.2: {"final_ppl": 5.0}, 0.3: None}
    table = heat_table(grid({"exit.hard_ratio": [0.1, 0.2, 0.3]}, 1, lambda s, _: figures[s["exit.hard_ratio"]]))
    assert table is not None
    assert [(one.finished, one.runs, one.warmth, one.leads) for row in table.cells for one in row if one] == [
        (1, 1, 0.0, False), (1, 1, 1.0, True), (0, 1, None, False),
    ]  # fmt: skip


def test_axes_go_by_the_last_part_of_their_name_and_what_is_not_varied_is_refused() -> None:
    names = tuple(AXES)
    assert chosen_axes(names) == ("exit.hard_ratio", "method")
    assert chosen_axes(names, "method") == ("method", "exit.hard_ratio")
    assert chosen_axes(names, "lr", "hard_ratio") == ("train.lr", "exit.hard_ratio")
    assert chosen_axes(["train.lr"]) == ("train.lr", "")
    with pytest.raises(UsageError, match=r"--rows 'hard_ratoi' is not varied by this sweep; did you mean"):
        chosen_axes(names, "hard_ratoi")
    with pytest.raises(UsageError, match=r"both train\.lr"):
        chosen_axes(names, "lr", "lr")
