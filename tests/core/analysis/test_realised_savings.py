"""Savings worked out from stored tokens are those that the evaluation counts."""

from array import array

import pytest
import torch

from core.analysis.realised_savings import realised_savings
from core.config.run_config import ModelConfig, RunConfig
from core.data.windows import cut_windows
from core.evaluation.passes import Pass, measured
from core.evaluation.savings import exit_costs

WINDOWS, WIDTH = 6, 5


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("exited_state", ["input", "copy", "drop", "deferred"])
def test_they_are_those_of_the_evaluation(exited_state: str, causal: bool) -> None:
    model = ModelConfig(dim=8, num_heads=2, ffn_dim=16, block_layers=(1, 2, 1), causal=causal)
    own = RunConfig(model=model)
    config = own.model_copy(update={"exit": own.exit.model_copy(update={"exited_state": exited_state})})
    targets = cut_windows(array("i", range(WINDOWS * WIDTH + 1)), WIDTH).targets
    left_at = torch.randint(0, 3, targets.shape, generator=torch.Generator().manual_seed(1))
    left_at[0], cost = 0, exit_costs(30, config)
    result = Pass(torch.zeros(targets.shape), torch.ones(targets.shape, dtype=torch.bool), left_at)
    expected = measured("evaluation", "early exit", result, config, cost=cost)
    layers, flops = realised_savings(left_at.flatten().numpy(), WIDTH, cost)
    assert layers == pytest.approx(expected.layer_savings)
    assert flops == pytest.approx(sum(expected.window_flop_savings) / WINDOWS)
