"""The probe of a pretrained model: its figures from plain formulas, its verdict from known tables."""

from pathlib import Path

import numpy as np
import pytest

from core.analysis.probe import (
    LITTLE,
    WORTH,
    Probe,
    _probed,
    exits_gain,
    priced_oracles,
    probe,
    stable_share,
)
from core.analysis.token_table import TokenTable
from core.config.run_config import build, preset_layer, set_layer
from core.generators import drained
from tests.core.backbones.tiny import save_tiny


def table(loss: list[list[float]], prediction: list[list[int]], signal: list[list[float]] | None = None) -> TokenTable:
    tokens = len(loss[0])
    return TokenTable(
        cross_entropy=np.array(loss, np.float32),
        signal=np.array(signal if signal is not None else loss[:-1], np.float32),
        max_prob=np.array(loss, np.float32),
        prediction=np.array(prediction, np.int32),
        inputs=np.zeros(tokens, np.int32),
        targets=np.zeros(tokens, np.int32),
        seq_len=tokens,
    )


def test_a_priced_oracle_leaves_where_loss_and_depth_cost_least() -> None:
    known = table([[1.0, 5.0], [0.9, 1.0], [0.1, 0.9]], [[0, 0]] * 3)
    found = {one.price: one for one in priced_oracles(known, (2 / 3, 1 / 3, 0.0))}
    assert (found[0.5].saved, found[0.5].loss) == (pytest.approx(1 / 6), pytest.approx((0.1 + 1.0) / 2))
    assert (found[2.0].saved, found[2.0].loss) == (pytest.approx(1 / 2), pytest.approx((1.0 + 1.0) / 2))
    assert found[4.0].saved == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_a_prediction_is_stable_from_where_it_is_the_last_one_s_for_good() -> None:
    known = table([[0.0] * 3] * 3, [[7, 7, 1], [7, 2, 2], [7, 7, 3]])
    assert stable_share(known, (2 / 3, 1 / 3, 0.0)) == pytest.approx((2 / 3 + 0 + 0) / 3)


@pytest.mark.parametrize("informed", [True, False])
def test_exits_gain_where_their_signal_tells_which_tokens_lose_nothing(informed: bool) -> None:
    draw = np.random.default_rng(1)
    easy = draw.random(20_000) < 0.5
    signal = draw.random(20_000) / 2 + (easy / 2 if informed else 0)
    loss = [np.where(easy, 1.0, 5.0)] * 4 + [np.ones(20_000)]
    known = table([list(row) for row in loss], [[0] * 20_000] * 5, [list(signal)] * 4)
    gain = exits_gain(known, (1, 1, 1, 1, 1))
    assert gain is not None
    assert gain > WORTH if informed else gain < LITTLE  # a fixed depth is as good as exits by chance


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (None, "not worth trying: no exit saves"),
        (WORTH, "worth trying: .* 0.050 nats below"),
        (LITTLE, "of little gain so far: .* 0.010 nats below"),
        (0.0, "without a sign of a gain so far: .* 0.000 nats below"),
        (-0.2, "without a sign of a gain so far: .* 0.200 nats above"),
    ],
)
def test_the_verdict_says_the_figure(gain: float | None, verdict: str) -> None:
    found = Probe("m", 1, 1, (), (), gain, 0.0).verdict
    assert found.startswith(verdict.partition(":")[0])
    assert verdict.rpartition("*")[2].strip() in found


def test_wide_models_are_probed_at_fewer_layers() -> None:
    assert _probed(30, 576) == (1,) * 30
    wide = _probed(32, 4096)
    assert (len(wide), sum(wide)) == (12, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_probe_judges_every_layer(folder: Path, text: Path) -> None:
    found = probed(folder, text)
    assert [layer.layer for layer in found.layers] == [1, 2, 3]
    last = found.layers[-1]
    assert (last.saved, last.agrees, last.affine_agrees) == (0, 1, 1)
    assert last.ppl == last.affine_ppl
    assert found.layers[0].saved == pytest.approx(2 / 3)
    assert all(layer.affine_agrees > layer.agrees for layer in found.layers[:-1])
    assert (found.fitted, found.tokens) == (71 * 8, 8 * 8)  # all windows, also those that fill no batch
    assert all(before.saved <= after.saved for before, after in zip(found.oracle, found.oracle[1:], strict=False))


def probed(folder: Path, text: Path) -> Probe:
    values = (f"model.source=hf:{folder}", f"data.corpus={text}", "seq_len=8", "batch_size=4", "num_samples=64",
              "eval_ratio=0.125", "machine.threads=1", "machine.device=cpu")  # fmt: skip
    return drained(probe(build([preset_layer("pretrained"), *map(set_layer, values)])))
