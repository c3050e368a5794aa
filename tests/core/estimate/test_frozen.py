"""Estimates of runs on a pretrained model: their passes, their memory, their cached states, and refusals."""

from pathlib import Path

import pytest

from core import costs
from core.backbones import state_cache
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.errors import UsageError
from core.estimate import memory_check
from core.estimate.estimate import add_up, estimate
from core.estimate.memory_check import require_memory
from core.estimate.process import Estimator
from core.estimate.speed import Speed, measure
from core.estimate.workload import Sizes, Span, memory, run_passes
from core.protocol.resolve import resolve
from tests.core.backbones.tiny import VOCABULARY, save_tiny

pytest.importorskip("transformers")
SIZES = Sizes(train_windows=80, eval_windows=16, vocab_size=VOCABULARY)
WIDTH = 8
SPEED = Speed(training={}, layers={1: 2.0, 2: 4.0}, head=1.0, classifier=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def make(folder: Path, *assignments: str) -> RunConfig:
    values = [
        f"model.source=hf:{folder}", f"seq_len={WIDTH}", "machine.threads=1", "machine.device=cpu", "block_layers=1,2",
        "batch_size=4", "max_epochs=2", "patience=2", "method=random", *assignments,
    ]  # fmt: skip
    return resolve(build([preset_layer("pretrained"), *map(set_layer, values)]))


def test_a_config_is_estimated_whose_cut_is_yet_to_be_filled_in(folder: Path, text: Path) -> None:
    values = (f"model.source=hf:{folder}", f"corpus={text}", f"seq_len={WIDTH}", "batch_size=4", "machine.threads=1")
    estimator = Estimator()
    try:
        found = estimator.estimate(build([preset_layer("pretrained"), *map(set_layer, values)]), ["random"], 1)
    finally:
        estimator.close()
    assert found is not None
    assert (found.runs, found.vocab_size) == (1, VOCABULARY)


def test_the_model_runs_once_and_readouts_train_on_its_states(folder: Path) -> None:
    passes = list(run_passes(make(folder, "readout_target=last"), SIZES))
    calibrated, fitted, stopping = 20 * WIDTH, 54 * WIDTH, 6 * WIDTH
    assert [(one.tokens, one.blocks, one.heads) for one in passes[:1]] == [(Span(80 * WIDTH, 80 * WIDTH), (1, 2), 0)]
    readout = [(Span(2 * fitted, 2 * fitted), 3 / costs.TRAINING), (Span(2 * stopping, 2 * stopping), 1)]
    assert (passes[1].blocks, passes[1].heads) == ((2,), 0)
    assert [(one.tokens, one.heads) for one in passes[2:6]] == 2 * readout
    assert [(one.tokens, one.blocks) for one in passes[6:8]] == 2 * [(Span(calibrated, calibrated), ())]
    assert [one.tokens.high for one in passes[8:]] == 2 * [16 * WIDTH]


def test_the_maps_in_place_of_layers_take_time_and_memory(folder: Path) -> None:
    copied, mapped = (
        add_up([make(folder, f"exited_state={state}")], SIZES, SPEED, held=0) for state in ("copy", "linear")
    )
    model = make(folder).model
    fit = 1 + costs.least_squares_flops(model.dim) / costs.layer_flops(model, WIDTH)
    assert mapped.seconds.low == pytest.approx(copied.seconds.low + 60 * WIDTH * fit * 2.0)  # one of two layers
    assert mapped.memory - copied.memory >= 4 * 2 * costs.shortcut_parameters(model)


@pytest.mark.parametrize("cut", ["1,1,1,1,1", "1,2,2", "4,1", "1,4"])
def test_any_cut_is_estimated_with_speeds_that_are_measured(tmp_path_factory: pytest.TempPathFactory, cut: str) -> None:
    model = save_tiny(tmp_path_factory.mktemp("five"), num_hidden_layers=5)
    config = make(model, f"block_layers={cut}")
    speed = measure(config, VOCABULARY, seconds=0.01)
    assert speed is not None
    assert add_up([config], SIZES, speed, held=0).seconds.low > 0


def test_siblings_share_everything_but_exits_and_evaluation(folder: Path) -> None:
    alone, both = ([make(folder, "seed=1")] * count for count in (1, 2))
    once, twice = (add_up(configs, SIZES, SPEED, held=0) for configs in (alone, both))
    evaluated = 16 * WIDTH * (2 * 6 + 2 + 1)  # the layers twice; heads of both blocks, and that of a token's last
    assert twice.seconds.high - once.seconds.high == pytest.approx(evaluated)
    assert once.states == state_cache.cache_bytes(80 * WIDTH, alone[0]) > 0


def test_a_run_that_trains_no_readout_has_an_estimate_too(folder: Path) -> None:
    found = add_up([make(folder, "readout=final")], SIZES, SPEED, held=0)
    assert (found.trained_tokens, found.speed) == (Span(0, 0), 0.0)
    assert found.seconds.low > 0


def test_a_model_takes_its_weights_and_a_smaller_dtype_takes_less(folder: Path) -> None:
    config = make(folder, "exited_state=copy")
    wide = config.model_copy(update={"model": config.model.model_copy(update={"dim": 4096, "ffn_dim": 11_008})})
    half = wide.model_copy(update={"machine": wide.machine.model_copy(update={"dtype": "bfloat16"})})
    weights = costs.parameters(wide.model, VOCABULARY)
    assert 4 * weights < memory(wide, SIZES) < 6 * weights
    assert 2 * weights < memory(half, SIZES) < memory(wide, SIZES) - weights


def test_an_estimate_is_made_without_the_model_s_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.backbones.load.load_weights", None)
    found = estimate([make(folder)], SIZES)
    assert found is not None
    assert 0 < found.seconds.low <= found.seconds.high
    assert found.speed > 0


def test_too_little_memory_or_disk_is_said_before_anything_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_cache, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="the states of 640 tokens take"):
        estimate([make(folder)], SIZES)
    monkeypatch.setattr(memory_check, "free_memory", lambda _: 1000)
    with pytest.raises(UsageError, match=r"a run needs .* of memory, and .* is free on cpu: take machine\.dtype"):
        require_memory([make(folder)])
