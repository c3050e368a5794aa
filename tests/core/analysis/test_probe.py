"""The probe of a pretrained model: its verdict from known intervals, and what it finds of models made here."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.analysis.probe import LITTLE, Probe, exit_ends, probe, probed_ends
from core.analysis.probed_exits import Exits, ProbedExits
from core.analysis.probed_layers import Layers
from core.config.run_config import build, preset_layer, set_layer
from core.generators import drained
from core.intervals import Interval
from tests.core.backbones.tiny import save_tiny

LAYERS = Layers((), (), 1, 0.0)
POINT = ProbedExits(0.25, 3.0, -0.1, None)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.05, 0.35, "worth trying: +0.200 nats [+0.050, +0.350] below"),
        (0.04, 0.36, "not decided: +0.200 nats [+0.040, +0.360] below"),
        (-0.30, 0.06, "not decided: -0.120 nats [-0.300, +0.060] below"),
        (0.02, 0.04, "of little gain: +0.030 nats [+0.020, +0.040] below"),
        (-0.03, 0.01, "of little gain: -0.010 nats"),
        (-0.03, 0.006, "not worth trying: -0.012 nats [-0.030, +0.006] below"),
    ],
)
def test_the_verdict_rests_on_the_interval(low: float, high: float, verdict: str) -> None:
    exits = Exits((1, 2), (4.0, 3.0), 512, 256, (POINT,), Interval(low, (low + high) / 2, high, "windows"))
    found = Probe("m", 512, LAYERS, exits).verdict
    assert found.startswith(verdict)
    assert "exits by gain at 2 depths, fitted on 512 and 256 tokens, at 25% of the layers saved" in found


def test_without_an_interval_there_is_no_verdict() -> None:
    exits = Exits((1, 2), (4.0, 3.0), 512, 256, (POINT,), None)
    assert Probe("m", 512, LAYERS, exits).verdict.startswith("not judged: an interval takes 24 windows")
    nothing = replace(exits, points=())
    assert Probe("m", 512, LAYERS, nothing).verdict == "not worth trying: no exit saves anything"


def test_wide_models_are_probed_at_fewer_layers() -> None:
    assert probed_ends(30, 576) == list(range(1, 31))
    assert probed_ends(32, 4096) == [3, 5, 8, 11, 13, 16, 19, 21, 24, 27, 29, 32]


def test_exits_are_after_the_probed_layers_nearest_to_even_blocks() -> None:
    assert exit_ends(list(range(1, 31))) == [6, 12, 18, 24, 30]
    assert exit_ends(probed_ends(32, 4096)) == [5, 13, 19, 27, 32]
    assert exit_ends([1, 2, 3]) == [1, 2, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def probed(folder: Path, text: Path, *values: str) -> Probe:
    given = (f"model.source=hf:{folder}", f"data.corpus={text}", "seq_len=8", "batch_size=4", "num_samples=64",
             "eval_ratio=0.5", "max_epochs=1", "machine.threads=1", "machine.device=cpu", *values)  # fmt: skip
    return drained(probe(build([preset_layer("pretrained"), *map(set_layer, given)])))


def test_a_probe_judges_every_layer_and_exits(folder: Path, text: Path) -> None:
    found = probed(folder, text)
    rows = found.layers.rows
    assert [row.layer for row in rows] == [1, 2, 3]
    last = rows[-1]
    assert (last.saved, last.agrees, last.affine_agrees) == (0, 1, 1)
    assert last.ppl == last.affine_ppl
    assert rows[0].saved == pytest.approx(2 / 3)
    assert all(row.affine_agrees > row.agrees for row in rows[:-1])
    oracle = found.layers.oracle
    assert all(before.saved <= after.saved for before, after in itertools.pairwise(oracle))
    exits = found.exits
    assert exits.layers == (1, 2, 3)
    assert found.fitted == exits.trained == 71 * 8  # all windows, also those that fill no batch
    assert exits.tokens == found.layers.tokens == 35 * 8


def test_readouts_of_exits_are_trained_by_the_loss(folder: Path, text: Path) -> None:
    found = probed(folder, text, "max_epochs=8", "train.lr=0.01")
    by_squares = [torch.tensor(row.affine_ppl).log() for row in found.layers.rows]
    assert all(loss < before - 0.1 for loss, before in zip(found.exits.losses, by_squares, strict=True))


def test_exits_of_a_model_that_knows_no_more_at_depth_are_not_worth_trying(folder: Path, tmp_path: Path) -> None:
    words = torch.randint(20, (12_000,), generator=torch.Generator().manual_seed(1))
    text = tmp_path / "chance.txt"
    text.write_text(" ".join(f"w{word}" for word in words))
    found = probed(folder, text, "num_samples=256", "seq_len=16", "max_epochs=4")
    assert found.verdict.startswith("not worth trying: ")
    gain = found.exits.gain
    assert gain is not None
    assert gain.low <= 0 <= gain.high < LITTLE
