"""The fit of gain exits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.events import Epoch
from core.formulas import price_signal
from core.head.token_statistics import TokenStatistics
from core.model import Transformer, new_model
from core.rng import stream
from core.stages.block_data import from_states
from core.stages.gain_fit import fit_gains, held_out_signal
from core.stages.statistics import BlockOutput
from tests.core.training import DIM, WORDS, MakeConfig, result_of

WINDOWS, WIDTH = 1000, 4
DIRECTION = torch.arange(1.0, DIM + 1) / 10


@pytest.fixture
def config(tiny_config: MakeConfig) -> RunConfig:
    return tiny_config("gain", block_layers=(1, 1, 1), protocol="joint")


def exits_output(model: Transformer, known: float) -> tuple[BlockOutput, Tensor, Tensor]:
    """Make up the first exit's output: how much of the gains, `[n, 2]`, a linear map of the readout `[n, D]` knows."""
    draw = stream(0, "gains")
    states = torch.randn(WINDOWS, WIDTH, DIM, generator=draw)
    readout = model.readout(0, states.flatten(0, 1)).detach()
    noise = torch.randn(len(readout), 2, generator=draw)
    gains = 0.1 + known * (readout @ DIRECTION)[:, None] * torch.tensor([1.0, 0.5]) + (0.5 if known else 1) * noise
    loss = torch.full((len(readout),), 5.0)
    like = TokenStatistics.empty(len(readout), states)
    at = [replace(like, cross_entropy=value) for value in (loss, loss - gains[:, 0], loss - gains[:, 1])]
    data = from_states(states, torch.zeros(WINDOWS, WIDTH, dtype=torch.int64))
    return BlockOutput(data, states, at[0], tuple(at[1:])), gains, readout


@pytest.mark.parametrize("classifier", ["linear", "mlp"])
def test_the_classifier_predicts_the_gains_of_all_later_blocks(classifier: str, tiny_config: MakeConfig) -> None:
    config = tiny_config("gain", block_layers=(1, 1, 1), protocol="joint", classifier=classifier)
    model = new_model(config, WORDS)
    output, gains, readout = exits_output(model, known=1.0)
    later = [torch.full((len(gains),), 0.0)]
    weights = result_of(fit_gains(model, 0, output, later, config, "block0.refit"))
    predicted = model.classifier(0).outputs(readout)
    assert predicted.shape == gains.shape
    for block in range(2):
        assert torch.corrcoef(torch.stack([predicted[:, block], gains[:, block]]))[0, 1] > 0.8
    assert weights["classifiers.0.linear.weight"].shape[0] == 2


def test_held_out_signals_are_of_fits_to_other_text(config: RunConfig) -> None:
    model = new_model(config, WORDS)
    output, gains, readout = exits_output(model, known=1.0)
    weights = result_of(fit_gains(model, 0, output, [torch.zeros(len(gains))], config, "block0.refit"))
    held_out, own = held_out_signal(weights, 0), price_signal((model.classifier(0).outputs(readout) * 3).amax(1))
    assert held_out.shape == own.shape
    assert not torch.equal(held_out, own)
    assert torch.corrcoef(torch.stack([held_out, own]))[0, 1] > 0.9


def test_where_nothing_is_known_the_exit_becomes_a_fixed_depth(config: RunConfig) -> None:
    model = new_model(config, WORDS)
    output, gains, readout = exits_output(model, known=0.0)
    result_of(fit_gains(model, 0, output, [torch.zeros(len(gains))], config, "block0.refit"))
    predicted = model.classifier(0).outputs(readout)
    torch.testing.assert_close(predicted, gains.mean(0).expand_as(predicted), rtol=0, atol=0.2)
    assert predicted.std(0).max() < 0.1


def test_every_fit_is_reported_with_its_held_out_error(config: RunConfig) -> None:
    model = new_model(config, WORDS)
    output, gains, _ = exits_output(model, known=1.0)
    epochs = [
        event
        for event in fit_gains(model, 0, output, [torch.zeros(len(gains))], config, "block0.refit")
        if isinstance(event, Epoch)
    ]
    assert epochs[0].loss == pytest.approx(float(gains.var(0).mean()), rel=0.05)
    assert min(epoch.loss for epoch in epochs) < epochs[0].loss / 2
    assert all(0 < epoch.avg_label < 1 for epoch in epochs if epoch.avg_label is not None)
