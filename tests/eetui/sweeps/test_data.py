"""What keys of the Sweep screen choose next."""

from core.metrics import ACCURACY, FINAL_PPL
from core.sweeps.combinations import Combination
from eetui.sweeps.data import metric_of, next_metric, turned_axes
from tests.core.sweeps.made_up import grid


def found(*names: str) -> list[Combination]:
    return grid({name: [1, 2] for name in names}, 1, lambda setting, seed: {"final_ppl": 3.0, "accuracy": 0.5})


def test_axes_go_round_and_change_places_where_they_meet() -> None:
    three = found("method", "lr", "dim")
    assert turned_axes(three, "", "", "columns") == ("method", "lr")
    assert turned_axes(three, "method", "lr", "columns") == ("method", "dim")
    assert turned_axes(three, "method", "lr", "rows") == ("lr", "method")
    assert turned_axes(three, "gone", "lr", "rows") == ("lr", "method")  # as of another sweep
    assert turned_axes(found("lr"), "", "", "rows") == ("lr", "")


def test_metrics_go_round_those_that_the_sweep_has() -> None:
    sweep = found("lr")
    assert metric_of(sweep, "") == metric_of(sweep, "flop_savings") == FINAL_PPL
    assert next_metric(sweep, "", 1) == ACCURACY.key
    assert next_metric(sweep, ACCURACY.key, 1) == next_metric(sweep, ACCURACY.key, -1) == FINAL_PPL.key
    assert metric_of([], "") is None
