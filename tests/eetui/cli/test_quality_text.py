"""Exit quality as `eetui quality` shows it."""

import json
from pathlib import Path

import numpy as np
import pytest

from eetui.cli.quality_text import bars, quality_json, quality_tables
from tests.analysed_runs import judged
from tests.eetui.plain_text import plain_words


def test_tables_show_every_exit_the_curve_and_a_summary(tmp_path: Path) -> None:
    shown = plain_words(quality_tables(judged(tmp_path, blocks=3)), width=120)
    for words in (
        "Exit 0 Exit 1",
        "AUROC: the next block is no better",
        "reliability of the signal, read as p(target)",
        "One exit rate for all exits: quality against savings (evaluation split, all tokens)",
        "One price for all exits, by layers",
        "One price for all exits, by FLOPs",
        "One price, by layers: clearly below the static line at",
        "nats below the static line on average",
        "At the run's own thresholds tokens leave",
        "Overthinking:",
    ):
        assert words in shown
    assert "✓" in shown


@pytest.mark.parametrize("exited_state", ["copy", "deferred"])
def test_deferred_layers_are_not_called_saved_without_a_word(exited_state: str, tmp_path: Path) -> None:
    shown = plain_words(quality_tables(judged(tmp_path, exited_state=exited_state)), width=120)
    assert ("losses above are exact" in shown) == (exited_state == "deferred")


def test_json_has_curve_line_and_diagrams_of_one_length(tmp_path: Path) -> None:
    data = json.loads(quality_json(judged(tmp_path)))
    points = len(data["curve"]["rates"])
    for kind in ("layers", "flops"):
        assert {len(data[kind][key]) for key in ("savings", "static", "possible", "beats")} == {points}
    diagram = data["exits"][0]["signal"]
    assert len(diagram["counts"]) == len(diagram["claimed"]) == len(diagram["found"])
    assert sum(data["exits"][0]["histogram"]) == data["tokens"]
    assert data["exit_histogram"] == pytest.approx([0.5, 0.5], abs=0.02)


def test_json_has_every_price_with_its_interval(tmp_path: Path) -> None:
    data = json.loads(quality_json(judged(tmp_path)))
    for kind in ("layers", "flops"):
        points = data["priced"][kind]
        assert [point["price"] for point in points] == sorted(point["price"] for point in points)
        for point in points:
            assert point["difference"]["low"] <= point["difference"]["mean"] <= point["difference"]["high"]
            assert point["difference"]["mean"] == pytest.approx(point["loss"] - point["line"], abs=1e-6)


def test_a_gain_is_judged_as_a_gain_and_an_order_as_an_order(tmp_path: Path) -> None:
    gain = judged(tmp_path, method="gain")
    shown = plain_words(quality_tables(gain), width=120)
    assert "a price, nats" in shown
    assert "Exit 0: nats that going on saves at the signal's own price, claimed and realised, by decile of" in shown
    assert "ECE of the signal" not in shown
    signal = json.loads(quality_json(gain))["exits"][0]["signal"]
    assert (signal["unit"], len(signal["counts"])) == ("nats", 10)
    assert signal["claimed"] == sorted(signal["claimed"])
    order = judged(tmp_path, method="margin")
    shown = plain_words(quality_tables(order), width=120)
    assert "an order only" in shown
    assert "AUROC: the block is right" in shown
    assert "ECE of the signal" not in shown
    assert json.loads(quality_json(order))["exits"][0]["signal"] is None
    assert json.loads(quality_json(judged(tmp_path)))["exits"][0]["signal"]["unit"] == "probability"


def test_bars_show_every_count_above_zero() -> None:
    assert bars(np.array([0, 1, 1000, 0]), 4) == " ▁█ "
    assert bars(np.zeros(4, int), 2) == "  "
