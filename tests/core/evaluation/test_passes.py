"""Ways through the model, against the plain forward pass."""

import pytest
import torch

from core.config.run_config import method_names
from core.data.windows import Dataset
from core.model import Transformer
from tests.core.evaluation.plain import measure, middling_thresholds, plain_early_exit
from tests.core.training import WORDS, MakeConfig


@pytest.mark.parametrize("method", method_names())
@torch.no_grad()
def test_early_exit_follows_the_report_s_rule_token_by_token(
    method: str, deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    thresholds = middling_thresholds(model, tiny_dataset, method)
    losses, left_at = plain_early_exit(model, thresholds, tiny_dataset.evaluation, method)
    early = measure(model, thresholds, tiny_dataset, config)["early exit"]
    shares = [(left_at == block).double().mean().item() for block in range(3)]
    assert min(shares) > 0
    assert early.exit_shares == pytest.approx(shares)
    assert early.window_losses == pytest.approx(losses.mean(1).tolist(), rel=1e-9)
    assert early.loss == pytest.approx(losses.mean().item(), rel=1e-9)


@torch.no_grad()
def test_static_depths_and_oracle_are_those_of_the_plain_forward_pass(
    deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config()
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [0.5, 0.5], tiny_dataset, config)
    states, targets, losses, guesses = (
        model.embedding(tiny_dataset.evaluation.inputs),
        tiny_dataset.evaluation.targets,
        [],
        [],
    )
    for block in model.blocks:
        states = block(states)
        logits = model.head(states)
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none"))
        guesses.append((logits.argmax(-1) == targets).flatten())
    names = ["block 0 alone", "block 1 alone", "all blocks"]
    assert list(results) == ["early exit", *names, "oracle"]
    for name, loss, right in zip(names, losses, guesses, strict=True):
        assert results[name].loss == pytest.approx(loss.mean().item())
        assert results[name].accuracy == pytest.approx(right.double().mean().item())
    best = torch.stack(losses).min(0)
    assert results["oracle"].loss == pytest.approx(best.values.mean().item())
    shares = [(best.indices == depth).double().mean().item() for depth in range(3)]
    assert results["oracle"].exit_shares == pytest.approx(shares)
    assert all(results["oracle"].loss < results[name].loss for name in names)


@pytest.mark.parametrize("method", method_names())
def test_a_threshold_of_0_lets_all_leave_at_block_0(
    method: str, deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [0.0, 0.0], tiny_dataset, config)
    early, alone = results["early exit"], results["block 0 alone"]
    assert early.exit_shares == alone.exit_shares == (1.0, 0.0, 0.0)
    assert early.loss == pytest.approx(alone.loss)
    assert early.accuracy == alone.accuracy
    assert early.layer_savings == alone.layer_savings == pytest.approx(3 / 4)


@pytest.mark.parametrize("method", method_names())
def test_a_threshold_above_1_lets_none_leave(method: str, deep_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [1.1, 1.1], tiny_dataset, config)
    early, full = results["early exit"], results["all blocks"]
    assert early.exit_shares == full.exit_shares == (0.0, 0.0, 1.0)
    assert early.loss == pytest.approx(full.loss)
    assert early.layer_savings == full.layer_savings == 0
