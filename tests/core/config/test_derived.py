"""What follows from a config alone: loss weights, exits, target exit rates, held-out windows."""

from collections.abc import Callable

import pytest

from core.config.derived import (
    calibration_windows,
    early_stopping_windows,
    exit_count,
    loss_shares,
    target_exit_shares,
    target_shallow_ratio,
)
from core.config.run_config import RunConfig

MakeConfig = Callable[..., RunConfig]


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("protocol", ["staged", "joint", "full_depth"])
def test_target_shares_are_of_all_tokens_and_leave_nothing_early_without_exits(protocol: str, blocks: int) -> None:
    shares = target_exit_shares(protocol, 0.3, blocks)
    assert sum(shares) == pytest.approx(1)
    exits = exit_count(protocol, blocks)
    assert [share > 0 for share in shares] == [block < exits or block == blocks - 1 for block in range(blocks)]
    early = target_shallow_ratio(protocol, 0.3, blocks)
    assert (early is None) == (exits == 0)
    assert early is None or early == pytest.approx(sum(shares[:-1]))


@pytest.mark.parametrize("protocol", ["joint", "full_depth"])
def test_the_losses_of_all_blocks_weigh_one_together(protocol: str, tiny_config: MakeConfig) -> None:
    assert sum(loss_shares(tiny_config(protocol=protocol, block_layers=(1, 1, 1))).values()) == pytest.approx(1)


@pytest.mark.parametrize(("windows", "held_out"), [(2, 0), (3, 1), (5, 1), (40, 10)])
def test_calibration_leaves_two_windows_to_train_on(windows: int, held_out: int, tiny_config: MakeConfig) -> None:
    config = tiny_config(calibration="heldout", calibration_ratio=0.25)
    assert calibration_windows(windows, config) == held_out
    assert calibration_windows(windows, tiny_config(calibration="train")) == 0


@pytest.mark.parametrize(("windows", "held_out"), [(2, 1), (4, 1), (10, 2), (48, 9)])
def test_early_stopping_takes_one_window_at_least_and_leaves_one(
    windows: int, held_out: int, tiny_config: MakeConfig
) -> None:
    assert early_stopping_windows(windows, tiny_config()) == held_out
    assert early_stopping_windows(2, tiny_config(val_ratio=0.9)) == 1
