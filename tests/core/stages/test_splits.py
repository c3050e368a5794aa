"""Which windows stop the training early."""

import pytest
import torch

from core.stages.splits import split_windows
from tests.core.training import MakeConfig


@pytest.mark.parametrize("windows", [2, 3, 10, 48])
def test_the_early_stopping_split_shares_no_window_with_training(windows: int, tiny_config: MakeConfig) -> None:
    training, held_out = split_windows(windows, tiny_config(), "block0.lm", torch.device("cpu"))
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(windows))
    assert len(held_out) == max(1, int(windows * 0.2))
    assert len(training) > 0


def test_contiguous_early_stopping_windows_are_the_tail(tiny_config: MakeConfig) -> None:
    training, held_out = split_windows(40, tiny_config(split="contiguous"), "any", torch.device("cpu"))
    assert (training.tolist(), held_out.tolist()) == (list(range(32)), list(range(32, 40)))
