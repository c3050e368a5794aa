"""Exit quality of a stored run, as shown and as JSON."""

import json
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.analysis.run_quality import RunQuality, run_quality
from core.config.run_config import method_names
from core.errors import RunLookupError, UsageError
from core.exits._load import exit_method
from core.store.reader import Reader
from core.store.writer import NewRun, Writer
from eetui.cli.quality_text import bars, quality_json, quality_tables
from tests.core.analysis.test_calibrate_run import plain
from tests.eetui.stored_tokens import store_run


def judged(path: Path, **run: float | str) -> RunQuality:
    number = store_run(path / "runs.db", **run)
    with Reader(path / "runs.db") as reader:
        return run_quality(reader, number)


def test_a_stored_run_is_judged_with_its_own_thresholds_and_costs(tmp_path: Path) -> None:
    found = judged(tmp_path, blocks=3)
    assert len(found.quality.exits) == 2
    assert found.quality.as_run == pytest.approx(np.array([0.5, 0.25, 0.25]), abs=0.02)
    assert found.quality.exits[0].claims == "p(target)"
    assert found.quality.exits[0].last_no_better.auroc == pytest.approx(0.64, abs=0.02)
    assert found.quality.layers.area > 0
    assert found.quality.savings.static_flops[0] > found.quality.savings.flops[0]


def test_a_signal_that_reads_the_head_pays_for_it(tmp_path: Path) -> None:
    never = [judged(tmp_path, method=method).quality.flops.savings[0] for method in ("loss", "softmax")]
    assert never[1] < never[0] < 0


def test_what_is_shown_has_every_exit_the_curve_and_what_it_comes_to(tmp_path: Path) -> None:
    shown = plain(quality_tables(judged(tmp_path, blocks=3)), width=120)
    for words in (
        "Exit 0 Exit 1",
        "AUROC: the next block is no better",
        "reliability of the signal, read as p(target)",
        "Quality against savings (evaluation split, all tokens)",
        "nats below the static line on average",
        "At the run's own thresholds tokens leave",
        "Overthinking:",
    ):
        assert words in shown
    assert "✓" in shown


def test_json_has_curve_line_and_diagrams_of_one_length(tmp_path: Path) -> None:
    data = json.loads(quality_json(judged(tmp_path)))
    points = len(data["curve"]["rates"])
    for kind in ("layers", "flops"):
        assert {len(data[kind][key]) for key in ("savings", "static", "possible", "beats")} == {points}
    diagram = data["exits"][0]["signal"]
    assert len(diagram["counts"]) == len(diagram["claimed"]) == len(diagram["found"])
    assert sum(data["exits"][0]["histogram"]) == data["tokens"]
    assert data["exit_histogram"] == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_gain_is_judged_as_a_gain_and_an_order_as_an_order(tmp_path: Path) -> None:
    gain = judged(tmp_path, method="gain")
    shown = plain(quality_tables(gain), width=120)
    assert "a gain, nats" in shown
    assert "Exit 0: nats that block 1 saves, claimed and realised, by decile of the claim" in shown
    assert "ECE of the signal" not in shown
    signal = json.loads(quality_json(gain))["exits"][0]["signal"]
    assert (signal["unit"], len(signal["counts"])) == ("nats", 10)
    assert signal["claimed"] == sorted(signal["claimed"])
    order = judged(tmp_path, method="margin")
    shown = plain(quality_tables(order), width=120)
    assert "an order only" in shown
    assert "AUROC: the block is right" in shown
    assert "ECE of the signal" not in shown
    assert json.loads(quality_json(order))["exits"][0]["signal"] is None
    assert json.loads(quality_json(judged(tmp_path)))["exits"][0]["signal"]["unit"] == "probability"


@pytest.mark.parametrize("method", method_names())
def test_a_signal_is_judged_as_what_its_method_claims(method: str, tmp_path: Path) -> None:
    assert judged(tmp_path, method=method).quality.exits[0].claims == exit_method(method).claims


def test_bars_show_every_group_that_holds_something() -> None:
    assert bars(np.array([0, 1, 1000, 0]), 4) == " ▁█ "
    assert bars(np.zeros(4, int), 2) == "  "


def test_a_run_without_statistics_or_exits_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        record = {"fingerprint": "none", "vocab_size": 4}
        (queued,) = writer.create_experiment([NewRun("waits", "loss", 1, None, "{}", record)])
    with Reader(path) as reader:
        with pytest.raises(UsageError, match=r"waits keeps no statistics of its tokens \(queued\)"):
            run_quality(reader, queued)
        with pytest.raises(RunLookupError):
            run_quality(reader, 99)
    with pytest.raises(UsageError, match="one block only"):
        judged(tmp_path, blocks=1)


def test_a_run_that_was_trained_without_exits_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = store_run(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE token_statistics SET signal = ?", (zlib.compress(b""),))
    connection.close()
    with Reader(path) as reader, pytest.raises(UsageError, match="trained without exits"):
        run_quality(reader, run)
