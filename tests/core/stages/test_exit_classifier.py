"""Exit classifiers: fitted after their block or along with it, to the tokens that are still in."""

import pytest
import torch

from core.data.windows import Dataset
from core.events import Epoch, StageStarted
from core.exits import exit_method
from core.model import new_model
from core.protocol.train import train
from core.stages.block_data import BlockData, from_states, from_words
from core.stages.exit_classifier import fit_classifier
from core.stages.statistics import block_output
from tests.core.training import DIM, WORDS, MakeConfig, of, result_of


def test_joint_mode_fits_the_classifier_along_with_the_block(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config("loss", exit_classifier_mode="joint")
    events = list(train(config, tiny_dataset))
    assert not any(event.kind == "exit classifier" for event in of(StageStarted, events))
    epochs = of(Epoch, events)
    assert {epoch.stage for epoch in epochs} == {"block0.lm", "block1.lm"}
    assert all(epoch.exit_loss > 0 and 0 < epoch.avg_label < 1 for epoch in epochs)


def test_post_mode_reports_label_and_exit_loss_in_a_stage_of_its_own(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    epochs = of(Epoch, train(tiny_config("loss"), tiny_dataset))
    for epoch in epochs:
        fitted = epoch.stage.endswith(".exit")
        assert (epoch.exit_loss is not None, epoch.avg_label is not None, epoch.val_loss is None) == (fitted,) * 3
    assert len([epoch for epoch in epochs if epoch.stage == "block0.exit"]) == 2


def test_the_classifier_s_lbfgs_fit_has_converged_and_draws_nothing(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(classifier_fit="lbfgs", dtype="float64")
    method, model = exit_method("loss"), new_model(config, WORDS)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    output = result_of(block_output(model, 0, data, config, "any"))
    events = list(fit_classifier(model, 0, output, method, config, "block0.exit"))
    losses = [epoch.exit_loss for epoch in of(Epoch, events)]
    assert losses == sorted(losses, reverse=True)
    hidden = output.states.flatten(0, 1)
    label = (-output.statistics.cross_entropy).exp()
    loss = method.loss(model.classifier(0)(hidden), label) / len(label)
    gradients = torch.autograd.grad(loss, tuple(model.classifier(0).parameters()))
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-5
    model.classifier(0).linear.weight.data.normal_()
    again = list(fit_classifier(model, 0, output, method, config, "block0.exit"))
    assert [epoch.exit_loss for epoch in of(Epoch, again)] == losses


def test_the_classifier_is_fitted_to_the_tokens_that_are_still_in(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    for values in ({"classifier_fit": "lbfgs"}, {"classifier_fit": "adam", "exit_epochs": 300, "lr": 0.03}):
        config = tiny_config(**values, dtype="float64", later_lr_scale=1.0)
        model, draw = new_model(config, WORDS), torch.Generator().manual_seed(1)
        states = torch.randn(48, 4, DIM, generator=draw, dtype=torch.float64)
        active = torch.rand(48, 4, generator=draw) < 0.4
        data: BlockData = from_states(states, tiny_dataset.train.targets, active)
        output = result_of(block_output(model, 1, data, config, "any"))
        events = list(fit_classifier(model, 1, output, exit_method("loss"), config, "any"))
        assert {event.tokens for event in of(StageStarted, events)} == {int(active.sum())}
        label = (-output.statistics.cross_entropy).exp()
        assert len(label) == active.sum()
        loss = ((model.classifier(1)(output.states[active]).sigmoid() - label) ** 2).mean().item()
        assert loss == pytest.approx(of(Epoch, events)[-1].exit_loss, rel=0.02)
        assert loss < label.var().item()
