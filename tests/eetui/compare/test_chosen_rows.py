"""Rows that `--metrics` names: their order, patterns, and what is refused."""

import csv
import json
import subprocess

import pytest

from core.errors import UsageError
from eetui.compare.chosen_rows import metric_names, with_rows
from eetui.compare.comparison import Comparison, compare
from tests.conftest import Eetui
from tests.eetui.comparing import run

Done = subprocess.CompletedProcess[str]


def comparison() -> Comparison:
    figures = {"block0.threshold": 0.2, "block1.threshold": 0.3, "block0.val_ppl": 300.0}
    return compare([run(f"m{n}-x", 1, 6.0 + n, 0.01, final_ppl=400.0, layer_savings=0.2, **figures) for n in range(2)])


@pytest.mark.parametrize(
    ("text", "final", "training"),
    [
        ("ppl", ["final_ppl"], []),
        ("savings,ppl", ["layer_savings", "final_ppl"], []),
        ("final_ppl, block0, ppl", ["final_ppl"], ["block0.val_ppl"]),
        ("block1.*,block*.threshold", [], ["block1.threshold", "block0.threshold"]),
    ],
)
def test_rows_are_those_named_in_that_order(text: str, final: list[str], training: list[str]) -> None:
    found = with_rows(comparison(), metric_names(text))
    assert [row.key for row in found.final] == final
    assert [row.key for row in found.training] == training


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ppl,,savings", "--metrics takes metrics with commas between them, such as ppl,savings, got 'ppl,,savings'"),
        ("", "--metrics takes metrics with commas between them"),
        ("saving", r"these runs have no 'saving'; did you mean savings\?; --json names what they have"),
        ("ppl,block7.*", r"these runs have no 'block7.\*'"),
        ("accuracy", "these runs have no 'accuracy'"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_rows(comparison(), metric_names(text))


def test_every_format_shows_the_named_rows(trained: Done, eetui: Eetui) -> None:
    chosen = ("compare", "1", "2", "3", "--metrics", "savings,ppl")
    lines = list(csv.DictReader(eetui(*chosen, "--format", "csv").stdout.splitlines()))
    assert [line["metric"] for line in lines if line["table"] != "config"] == ["layer_savings"] * 3 + ["final_ppl"] * 3
    told = json.loads(eetui(*chosen, "--json").stdout)
    assert [row["metric"] for row in told["final"]] == ["layer_savings", "final_ppl"]
    assert not told["training"]
    assert "savings" not in told
    assert r"{distill-1}" in eetui(*chosen, "--format", "latex").stdout
    assert "Bits per byte" not in eetui(*chosen).stdout
    groups = json.loads(eetui("compare", "--group-by", "method", "--metrics", "savings,ppl", "--json").stdout)["groups"]
    assert [list(group["figures"]) for group in groups] == [["layer_savings", "final_ppl"]] * 3


def test_savings_below_the_static_depths_are_worked_out_where_they_are_named(trained: Done, eetui: Eetui) -> None:
    done = eetui("compare", "1", "2", "--metrics", "price.gain,ppl")
    assert "At one price, below them on average" in done.stdout
    assert "Final PPL" in done.stdout


def test_rows_are_named_or_those_that_differ(trained: Done, eetui: Eetui) -> None:
    done = eetui("compare", "1", "2", "--metrics", "ppl", "--only-changed")
    assert done.returncode == 2
    assert "--metrics and --only-changed exclude each other" in done.stderr
